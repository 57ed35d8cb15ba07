// The kernels for x86-64-v3 (AVX2). Headers come before the pragma: their inline functions belong to everybody.
#include <immintrin.h>

#include <cstdint>
#include <type_traits>
#include <utility>

#include "kernels/variant.h"

namespace pyccl::kernels::x86_64_v3 {
extern const Variant kVariant;
namespace {
bool available() { return __builtin_cpu_supports("x86-64-v3") != 0; }
}  // namespace
}  // namespace pyccl::kernels::x86_64_v3

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")

namespace pyccl::kernels::x86_64_v3 {
namespace {

inline constexpr int kVectorBytes = 32;

template <class V> [[gnu::always_inline]] inline __m256 widen_half(V half) { return _mm256_cvtph_ps((__m128i)half); }
[[gnu::always_inline]] inline __m128i narrow_half(__m256 value) {
  return _mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT);
}
template <class V> [[gnu::always_inline]] inline void stream_store(char* to, V value) {
  _mm256_stream_si256(reinterpret_cast<__m256i*>(to), (__m256i)value);
}
[[gnu::always_inline]] inline void stream_fence() { _mm_sfence(); }

#include "kernels/entry.h"

}  // namespace

constinit const Variant kVariant{"x86-64-v3", available,  reduce_job,     scale_elements, stream_copy,
                                 update_job,  all_finite, compensate_job, encode_job,     decode_job};

}  // namespace pyccl::kernels::x86_64_v3

#pragma GCC pop_options
