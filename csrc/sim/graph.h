// The work of a replay: nodes of every rank, what waits for what, who receives which message, who meets whom.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace pyccl::sim {

enum class Work : std::uint8_t { Compute, Send, Recv, Meet, Memory };

/// Values of equal distance in memory of the caller's; all the same one if `step` is 0.
template <class T> struct View {
  const T* data = nullptr;
  std::size_t step = 1;
  T operator[](std::size_t i) const { return data[i * step]; }
};

/// The nodes of one rank; peers are ranks of the first copy, -1 of a receive is any rank (or, as the tag, any tag).
struct Column {
  std::size_t count = 0;
  View<std::uint8_t> kind;
  View<std::int64_t> nbytes;
  View<std::int32_t> peer, tag;
  View<double> duration;
  View<std::int32_t> group, lane, call;  // call: which kind of collective, below Graph::calls
  View<std::int64_t> starts;             // node i waits for deps[starts[i]], …, deps[starts[i + 1] - 1]
  View<std::int32_t> deps;
  View<std::uint8_t> begun;  // of a dependency: the other need only have begun
};

/// As Group of pyccl/sim/trace.py.
struct Group {
  int size = 0, stride = 1;
  std::vector<int> ranks;
};

/// What the engine has found out about a column; every copy of it shares this.
struct Links {
  std::vector<std::int32_t> after_first, after;  // nodes that wait for this one's end
  std::vector<std::int32_t> begun_first, begun;  // nodes that wait for its begin; empty where nobody does
  std::vector<std::int32_t> partner;             // of a send: the receiver's node, -1 if it matches when it comes
  std::vector<std::int32_t> ordinal;             // of a collective: how many of its group this rank had before
  std::vector<std::int32_t> lane;                // number of the node's lane; empty: all are on lane 0
  int lanes = 1;
  bool wild = false;  // it receives from any rank or with any tag
};

class Graph {
 public:
  /// Throws std::invalid_argument, naming ranks and nodes, where the columns contradict themselves or each other.
  Graph(std::vector<Column> columns, std::vector<Group> groups, int size, int calls);

  int size() const { return size_; }
  int told() const { return static_cast<int>(columns_.size()); }
  const Column& column(int rank) const { return columns_[static_cast<std::size_t>(rank % told())]; }
  const Links& links(int rank) const { return links_[static_cast<std::size_t>(rank % told())]; }
  /// What is added to peers in the column of `rank`.
  int shift(int rank) const { return rank - rank % told(); }
  std::int64_t nodes() const;

  /// The gatherings of `group`: one, one a copy, or one a rank that may be its first; `gathering` numbers those of all.
  int gathering(int rank, int group) const;
  int gatherings() const { return bases_.back(); }
  /// The place of `rank` in its gathering of `group`, and back.
  int place(int rank, int group) const;
  int member(int gathering, int group, int place) const;
  int members(int group) const;

 private:
  void check(int rank) const;
  void link(int rank);
  void match();

  std::vector<Column> columns_;
  std::vector<Group> groups_;
  int size_, calls_;
  std::vector<int> bases_;  // first gathering of each group
  std::vector<Links> links_;
};

}  // namespace pyccl::sim
