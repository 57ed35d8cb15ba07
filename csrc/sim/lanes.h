// Processors and streams of all ranks: one node at a time on each, in the order in which they became ready.
#pragma once

#include <cstddef>
#include <vector>

#include "sim/graph.h"

namespace pyccl::sim {

class Lanes {
 public:
  explicit Lanes(const Graph& graph) : graph_(graph), first_(static_cast<std::size_t>(graph.size()) + 1) {
    for (int r = 0; r < graph.size(); ++r) first_[r + 1] = first_[r] + static_cast<std::size_t>(graph.links(r).lanes);
    lanes_.resize(first_.back());
  }

  /// Whether `node` has its lane now; else it waits in line.
  bool take(int rank, int node) {
    Lane& lane = of(rank, node);
    if (lane.busy) lane.line.push_back(node);
    const bool free = !lane.busy;
    lane.busy = true;
    return free;
  }

  /// `node` leaves its lane; returns who has it now, or -1.
  int leave(int rank, int node) {
    Lane& lane = of(rank, node);
    if (lane.next < lane.line.size()) return lane.line[lane.next++];
    lane = {};
    return -1;
  }

 private:
  struct Lane {
    bool busy = false;
    std::size_t next = 0;
    std::vector<int> line;
  };

  Lane& of(int rank, int node) {
    const auto& lanes = graph_.links(rank).lane;
    return lanes_[first_[rank] + (lanes.empty() ? 0 : static_cast<std::size_t>(lanes[node]))];
  }

  const Graph& graph_;
  std::vector<std::size_t> first_;  // by rank
  std::vector<Lane> lanes_;
};

}  // namespace pyccl::sim
