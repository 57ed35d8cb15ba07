#include "server/initializer.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/random.h"
#include "server/hash.h"

namespace pyccl::server {
namespace {

constexpr int kChunk = 256;             // numbers at a time: they stay in L1
constexpr std::uint32_t kStream = 'I';  // admission draws from another one

template <std::size_t N> float polynomial(const float (&c)[N], float x) {
  float value = c[0];
  for (std::size_t i = 1; i < N; ++i) value = value * x + c[i];
  return value;
}

/// The natural logarithm of a positive normal number (Cephes' logf), to 2 units in the last place.
float logarithm(float x) {
  static constexpr float kC[] = {7.0376836292e-2f,  -1.1514610310e-1f, 1.1676998740e-1f,
                                 -1.2420140846e-1f, 1.4249322787e-1f,  -1.6668057665e-1f,
                                 2.0000714765e-1f,  -2.4999993993e-1f, 3.3333331174e-1f};
  const auto bits = std::bit_cast<std::int32_t>(x);
  // A mantissa from sqrt(1/2) to sqrt(2), and the power of two that goes with it.
  const std::int32_t power = (bits - 0x3F3504F3) >> 23;
  const float m = std::bit_cast<float>(bits - power * (1 << 23)) - 1.0f;
  const float e = static_cast<float>(power), z = m * m;
  const float tail = m * z * polynomial(kC, m) + e * -2.12194440e-4f - 0.5f * z;
  return m + tail + e * 0.693359375f;
}

/// Normal numbers of `count` random ones, 24 bits of each, from -5.3 to 5.3: the quantile by M. Giles, "Approximating
/// the erfinv function" (2012), in single precision. Its rare far branch is a loop of its own, so that the other is
/// SIMD.
void normals(const std::uint32_t* random, std::int64_t count, float mean, float std, float* out) {
  static constexpr float kNear[] = {2.81022636e-08f, 3.43273939e-07f, -3.5233877e-06f, -4.39150654e-06f, 0.00021858087f,
                                    -0.00125372503f, -0.00417768164f, 0.246640727f,    1.50140941f};
  static constexpr float kFar[] = {-0.000200214257f, 0.000100950558f, 0.00134934322f, -0.00367342844f, 0.00573950773f,
                                   -0.0076224613f,   0.00943887047f,  1.00167406f,    2.83297682f};
  constexpr float kRoot2 = 1.41421356f, kBorder = 5.0f;
  float x[kChunk], w[kChunk];
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int32_t number = static_cast<std::int32_t>(random[i]) >> 8, size = number ^ (number >> 31);
    x[i] = (static_cast<float>(number) + 0.5f) * 0x1p-23f;
    const float rest = (static_cast<float>(0x7FFFFF - size) + 0.5f) * 0x1p-23f;  // 1 - |x|, exactly
    w[i] = -logarithm(rest * (2.0f - rest));
    out[i] = mean + std * (kRoot2 * (polynomial(kNear, w[i] - 2.5f) * x[i]));
  }
  for (std::int64_t i = 0; i < count; ++i) {
    if (w[i] >= kBorder) out[i] = mean + std * (kRoot2 * (polynomial(kFar, std::sqrt(w[i]) - 3.0f) * x[i]));
  }
}

void uniforms(const std::uint32_t* random, std::int64_t count, float low, float high, float* out) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float share = (static_cast<float>(random[i] >> 9) + 0.5f) * 0x1p-23f;
    out[i] = std::min(low + (high - low) * share, high);
  }
}

}  // namespace

void Initializer::fill(std::uint64_t table, std::int64_t id, float* row, std::int64_t dim) const {
  if (kind == Kind::Constant) {
    std::fill_n(row, dim, a);
    return;
  }
  const std::uint64_t key = mix(mix(table) + seed);
  const auto low = static_cast<std::uint32_t>(id), high = static_cast<std::uint32_t>(std::uint64_t(id) >> 32);
  std::uint32_t numbers[kChunk];
  for (std::int64_t begin = 0; begin < dim; begin += kChunk) {
    const std::int64_t count = std::min<std::int64_t>(kChunk, dim - begin);
    for (std::int64_t i = 0; i < count; i += 4) {
      const Block block = philox({low, high, static_cast<std::uint32_t>((begin + i) / 4), kStream}, key);
      std::copy(block.begin(), block.end(), numbers + i);
    }
    if (kind == Kind::Normal) normals(numbers, count, a, b, row + begin);
    else uniforms(numbers, count, a, b, row + begin);
  }
}

}  // namespace pyccl::server
