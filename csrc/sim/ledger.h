// What a replay writes down: when nodes began and ended, why they began no sooner, and where the ranks' time went.
#pragma once

#include <cstdint>
#include <vector>

#include "sim/graph.h"

namespace pyccl::sim {

class Ledger {
 public:
  /// `spans`: whether to keep begin, end and cause of every node.
  Ledger(const Graph& graph, bool spans)
      : graph_(graph), offsets_(static_cast<std::size_t>(graph.size()) + 1), ranks_(graph.size()), spans_(spans) {
    for (int r = 0; r < graph.size(); ++r)
      offsets_[r + 1] = offsets_[r] + static_cast<std::int64_t>(graph.column(r).count);
    for (int r = 0; r < graph.size(); ++r) ranks_[r].left = static_cast<int>(graph.column(r).count);
    if (!spans) return;
    begin.assign(static_cast<std::size_t>(offsets_.back()), -1);
    end.assign(static_cast<std::size_t>(offsets_.back()), -1);
    before.assign(static_cast<std::size_t>(offsets_.back()), -1);
  }

  std::int64_t number(int rank, int node) const { return offsets_[rank] + node; }
  /// `node` began or ended no sooner because of `cause`, of any rank.
  void because(int rank, int node, int cause_rank, int cause) {
    if (spans_) before[number(rank, node)] = number(cause_rank, cause);
  }

  void begun(int rank, int node, double now) {
    if (spans_) begin[number(rank, node)] = now;
    Rank& r = pass(rank, now);
    ++(computes(rank, node) ? r.computing : r.communicating);
  }
  void ended(int rank, int node, double now) {
    if (spans_) end[number(rank, node)] = now;
    Rank& r = pass(rank, now);
    --(computes(rank, node) ? r.computing : r.communicating);
    --r.left;
  }

  int left(int rank) const { return ranks_[rank].left; }
  double finish(int rank) const { return ranks_[rank].since; }
  double compute(int rank) const { return ranks_[rank].compute; }
  double communication(int rank) const { return ranks_[rank].communication; }

  std::vector<double> begin, end;    // of all nodes, -1 where there was none
  std::vector<std::int64_t> before;  // the node that it waited for last

 private:
  struct Rank {
    double since = 0, compute = 0, communication = 0;
    int computing = 0, communicating = 0, left = 0;
  };

  bool computes(int rank, int node) const {
    const auto kind = static_cast<Work>(graph_.column(rank).kind[static_cast<std::size_t>(node)]);
    return kind == Work::Compute || kind == Work::Memory;
  }

  Rank& pass(int rank, double now) {
    Rank& r = ranks_[rank];
    if (r.computing > 0) r.compute += now - r.since;
    else if (r.communicating > 0) r.communication += now - r.since;
    r.since = now;
    return r;
  }

  const Graph& graph_;
  std::vector<std::int64_t> offsets_;
  std::vector<Rank> ranks_;
  const bool spans_;
};

}  // namespace pyccl::sim
