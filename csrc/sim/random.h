// Counter-based random numbers: a number is a pure function of what it is for, so nobody's draws depend on others'.
#pragma once

#include <array>
#include <cstdint>

namespace pyccl::sim {

using Block = std::array<std::uint32_t, 4>;

/// Philox4x32-10 (Salmon et al. 2011, doi:10.1145/2063384.2063405).
inline Block philox(Block counter, std::uint64_t key) {
  constexpr std::uint64_t kFirst = 0xD2511F53, kSecond = 0xCD9E8D57;
  auto k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = kFirst * counter[0], b = kSecond * counter[2];
    counter = {static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ k0, static_cast<std::uint32_t>(b),
               static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ k1, static_cast<std::uint32_t>(a)};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return counter;
}

/// What a number is for; its value is part of the counter.
enum class Stream : std::uint32_t { Compute, Slowness, Failures, Preemption, Sampling, Availability, Ids };
inline constexpr int kStreams = 7;

/// Two numbers, for iterations 2 * `pair` and 2 * `pair` + 1, above 0 and below 1, in steps of 2^-52.
inline std::array<double, 2> uniforms(std::uint64_t seed, std::uint32_t who, std::uint64_t pair, Stream stream) {
  const Block b = philox({static_cast<std::uint32_t>(pair), static_cast<std::uint32_t>(pair >> 32), who,
                          static_cast<std::uint32_t>(stream)},
                         seed);
  const auto number = [](std::uint32_t low, std::uint32_t high) {
    const std::uint64_t bits = (std::uint64_t{high} << 32 | low) >> 12;
    return (static_cast<double>(bits) + 0.5) * 0x1p-52;
  };
  return {number(b[0], b[1]), number(b[2], b[3])};
}

inline double uniform(std::uint64_t seed, std::uint32_t who, std::uint64_t iteration, Stream stream) {
  return uniforms(seed, who, iteration / 2, stream)[iteration % 2];
}

}  // namespace pyccl::sim
