// The kernels for x86-64-v4 (AVX-512). Headers come before the pragma: their inline functions belong to everybody.
#include <immintrin.h>

#include <cstdint>
#include <type_traits>
#include <utility>

#include "kernels/variant.h"

namespace pyccl::kernels::x86_64_v4 {
extern const Variant kVariant;
namespace {
bool available() { return __builtin_cpu_supports("x86-64-v4") != 0; }
}  // namespace
}  // namespace pyccl::kernels::x86_64_v4

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4,prefer-vector-width=512")

namespace pyccl::kernels::x86_64_v4 {
namespace {

inline constexpr int kVectorBytes = 64;
inline constexpr __mmask16 kAllLanes = 0xffff;  // GCC's unmasked intrinsics read an uninitialized variable

template <class V> [[gnu::always_inline]] inline __m512 widen_half(V half) {
  return _mm512_maskz_cvtph_ps(kAllLanes, (__m256i)half);
}
[[gnu::always_inline]] inline __m256i narrow_half(__m512 value) {
  return _mm512_maskz_cvtps_ph(kAllLanes, value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
template <class V> [[gnu::always_inline]] inline void stream_store(char* to, V value) {
  _mm512_stream_si512(reinterpret_cast<__m512i*>(to), (__m512i)value);
}
[[gnu::always_inline]] inline void stream_fence() { _mm_sfence(); }

#include "kernels/entry.h"

}  // namespace

constinit const Variant kVariant{"x86-64-v4", available,  reduce_job,     scale_elements, stream_copy,
                                 update_job,  all_finite, compensate_job, encode_job,     decode_job};

}  // namespace pyccl::kernels::x86_64_v4

#pragma GCC pop_options
