// float32 on a narrower wire. Any alignment, any count; may be called without the GIL. Same bits on every instruction
// set.
#pragma once

#include <cstdint>

namespace pyccl::kernels {

/// What a value x becomes, and how far from x:
/// - Float32: itself.
/// - Float16: the nearest binary16, ties to even: 2^-11 |x| from 2^-14 on, 2^-25 below; infinite from 65520 on.
/// - BFloat16: the nearest upper half of a binary32, ties to even: 2^-8 |x|, if that is normal.
/// - Int8: blocks of kInt8Block values (the last one as long as it is): a float32 scale = max|x| / 127 but at least
/// 2^-126,
///   then x / scale as int8, rounded to nearest, ties to even. max|x| / 253 or 2^-126, whichever is more; -0 becomes 0.
/// NaN and infinities: the 16-bit codecs keep them (NaNs are made quiet); a block of int8 with one decodes to NaN only.
enum class Codec : std::uint8_t { Float32, Float16, BFloat16, Int8 };
inline constexpr int kCodecs = 4;
inline constexpr std::int64_t kInt8Block = 64;

/// Bytes of `count` encoded values. A multiple of kInt8Block may be cut off and encoded apart.
std::int64_t encoded_bytes(Codec codec, std::int64_t count);

/// Ranges do not overlap.
void encode(Codec codec, void* to, const float* from, std::int64_t count);
void decode(Codec codec, float* to, const void* from, std::int64_t count);

}  // namespace pyccl::kernels
