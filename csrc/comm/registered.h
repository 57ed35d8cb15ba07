// Arrays that every rank of the node has mapped.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "shm/memory.h"

namespace pyccl {

/// One collective allocation: this rank's memory and the same allocation of every peer of the node.
struct Region {
  std::uint32_t id = 0;
  std::int64_t bytes = 0;
  char* own = nullptr;
  std::vector<char*> bases;  // by communicator rank; nullptr for ranks of other nodes
  std::vector<shm::Mapping> mappings;
};

/// Addresses to regions. Used under the GIL only.
class Regions {
 public:
  void add(std::shared_ptr<Region> region);
  void remove(const Region* region);
  /// The region that holds all of [data, data + bytes), or nullptr.
  std::shared_ptr<Region> find(const void* data, std::int64_t bytes) const;
  std::size_t size() const { return regions_.size(); }
  std::uint64_t generation() const { return generation_; }

 private:
  std::vector<std::shared_ptr<Region>> regions_;
  std::uint64_t generation_ = 0;
};

/// The same array on every rank: allocation number and offset, 0 for private memory. Offsets stay below 2^40.
inline std::uint64_t region_key(const Region* region, const void* data) {
  if (region == nullptr) return 0;
  return static_cast<std::uint64_t>(region->id) << 40 |
         static_cast<std::uint64_t>(static_cast<const char*>(data) - region->own);
}

}  // namespace pyccl
