// Hashes of row ids. Dense small ids spread as evenly as any others.
#pragma once

#include <cstdint>

namespace pyccl::server {

/// SplitMix64's finaliser (Stafford's variant 13): every bit of the result depends on every bit of `x`.
inline std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

/// One of `parts`, in proportion to the 32 bits of `number`.
inline std::uint32_t share_of(std::uint32_t number, std::uint32_t parts) {
  return static_cast<std::uint32_t>((std::uint64_t{number} * parts) >> 32);
}

/// The shard of a row. The ids of one shard are no special ones to `index_hash` and `count_hash`.
inline int shard_of(std::int64_t id, int shards) {
  const std::uint64_t hash = mix(static_cast<std::uint64_t>(id) ^ 0xA0761D6478BD642F);
  return static_cast<int>(share_of(static_cast<std::uint32_t>(hash >> 32), static_cast<std::uint32_t>(shards)));
}
inline std::uint64_t index_hash(std::int64_t id) { return mix(static_cast<std::uint64_t>(id) + 0x9E3779B97F4A7C15); }
inline std::uint64_t count_hash(std::int64_t id) { return mix(static_cast<std::uint64_t>(id) ^ 0xE7037ED1A0B428DB); }

}  // namespace pyccl::server
