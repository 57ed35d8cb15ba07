// Small operations between nodes: the agreement on what is called carries the data along.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/communicator.h"

namespace pyccl {

/// Bytes of all ranks' blocks together that an agreement may carry.
inline constexpr std::int64_t kCarried = 4096;

/// A block of every rank, ever `stride` bytes from the next. Those of this node are there at the start, an agreement
/// brings the others.
struct Communicator::Cargo {
  char* blocks = nullptr;
  std::int64_t bytes = 0, stride = 0;

  char* of(int rank) const { return blocks + rank * stride; }
  std::int64_t size(const std::vector<std::vector<int>>& nodes, int first, int count) const;
  /// Copies the blocks of `count` nodes, node `first` and those before it, one behind the other to `to`, or from
  /// there. Returns how many bytes they are.
  std::int64_t pack(const std::vector<std::vector<int>>& nodes, int first, int count, char* to) const;
  void unpack(const std::vector<std::vector<int>>& nodes, int first, int count, const char* from) const;
};

}  // namespace pyccl
