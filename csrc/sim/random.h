// The simulator's random numbers, by stream, entity and iteration.
#pragma once

#include <array>
#include <cstdint>

#include "core/random.h"

namespace pyccl::sim {

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
