// What the CPU does to bytes. Every function here may be called without the GIL, from any thread.
#pragma once

#include <cstdint>

#include "core/types.h"

namespace pyccl::kernels {

/// Where the ranks of a node write as much at once, stores past the caches are faster.
inline constexpr std::int64_t kCacheBytes = 32 << 20;

/// A user's binary operation on `count` elements: `accumulator[i] = f(accumulator[i], operand[i])`.
/// For 16-bit floating types both pointers are `float*`. Sets `*error` to non-zero when f failed.
using UserFunction = void (*)(void* accumulator, const void* operand, std::int64_t count, std::int32_t* error);

/// How values are combined.
struct Reduction {
  DataType dtype = DataType::F32;
  OpKind op = OpKind::Sum;
  UserFunction user = nullptr;  // only for OpKind::User
};

/// True when `op` is defined on `dtype` (no integer or bool Avg, no bool Sum, no ordered complex ...).
bool supports(OpKind op, DataType dtype);

/// dests[j][i] = sources[0][i] op sources[1][i] op ... in this order, for every j and i < count.
/// 16-bit floating types are accumulated in float and rounded once. `divisor` != 1 divides the result before
/// it is rounded (Avg on the step that completes a chunk). A dest may be equal to a source, never overlap one
/// otherwise. `stream` asks for non-temporal stores (see kCacheBytes).
/// Returns non-zero when a user's function reported an error.
int reduce(const Reduction& how, const void* const* sources, int nsources, void* const* dests, int ndests,
           std::int64_t count, std::int64_t divisor = 1, bool stream = false);

/// dst[i] = src[i] * factor: the PremulSum of one rank's contribution. dst may be src.
void scale(DataType dtype, void* dst, const void* src, std::int64_t count, double factor);

/// memcpy with the chosen stores. Ranges do not overlap, or are the same (then nothing is done).
void copy(void* dst, const void* src, std::int64_t bytes, bool stream = false);

/// The instruction set in use: "baseline", "x86-64-v3" or "x86-64-v4" (PYCCL_ISA may lower it).
const char* isa();

}  // namespace pyccl::kernels
