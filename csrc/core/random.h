// Counter-based random numbers: a number is a pure function of what it is for, so nobody's draws depend on others'.
#pragma once

#include <array>
#include <cstdint>

namespace pyccl {

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

}  // namespace pyccl
