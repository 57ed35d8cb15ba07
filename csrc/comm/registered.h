// Arrays that every rank of the node has mapped.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "shm/memory.h"
#include "shm/moved_pages.h"

namespace pyccl {

/// One collective allocation or registration: this rank's memory and that of every peer of the node.
///
/// An array that was private before has its whole pages in the shared file. Those at its edges belong to others too and
/// stay private; the file has room for their bytes, a mirror that holds them while an operation runs.
struct Region {
  std::uint32_t id = 0;
  std::int64_t bytes = 0;
  char* own = nullptr;       // the user's address
  std::vector<char*> bases;  // where it is mapped whole, by communicator rank; nullptr for ranks of other nodes
  std::vector<shm::Mapping> mappings;
  char *shared_begin = nullptr, *shared_end = nullptr;  // of the user's addresses; outside lie the edges
  bool adopted = false;                                 // by comm.register
  bool retired = false;   // private again; calls that were resolved before must not touch `bases`. Under order_
  shm::MovedPages moved;  // last: made private from what `mappings` show
};

/// Bytes at the edge of an array, and their mirror.
struct Edge {
  char *own, *mirror;
  std::size_t bytes;
  bool written;  // by the operation
};

/// Addresses to regions. Used under the GIL only.
class Regions {
 public:
  void add(std::shared_ptr<Region> region);
  void remove(const Region* region);
  /// The region that holds all of [data, data + bytes), or nullptr.
  std::shared_ptr<Region> find(const void* data, std::int64_t bytes) const;
  /// Whether any region has a byte of [data, data + bytes).
  bool overlaps(const void* data, std::int64_t bytes) const;
  /// The registrations: that with the number, or all for number 0.
  std::vector<std::shared_ptr<Region>> adopted(std::uint32_t id) const;
  std::size_t size() const { return regions_.size(); }
  std::uint64_t generation() const { return generation_; }

 private:
  std::vector<std::shared_ptr<Region>> regions_;
  std::uint64_t generation_ = 0;
};

/// Appends what of [data, data + bytes) lies at the edges of `region`.
void append_edges(const Region& region, const void* data, std::int64_t bytes, bool written, int rank,
                  std::vector<Edge>& edges);

/// The same array on every rank: number and offset, 0 for private memory. Offsets stay below 2^40.
inline std::uint64_t region_key(const Region* region, const void* data) {
  if (region == nullptr) return 0;
  return static_cast<std::uint64_t>(region->id) << 40 |
         static_cast<std::uint64_t>(static_cast<const char*>(data) - region->own);
}

/// Set where a rank's input or output is its own block of the other one, and the key that of the whole: a block has
/// another offset on every rank.
inline constexpr std::uint64_t kOwnBlock = 1ULL << 63;

}  // namespace pyccl
