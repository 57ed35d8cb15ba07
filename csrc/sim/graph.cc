#include "sim/graph.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>

namespace pyccl::sim {
namespace {

constexpr int kMostGatherings = (1 << 28) - 1;  // csrc/sim/heap.h has 28 bits

[[noreturn]] void fail(int rank, std::size_t node, const std::string& what) {
  throw std::invalid_argument("rank " + std::to_string(rank) + " node " + std::to_string(node) + " " + what);
}

struct End { std::int32_t source, tag, node, rank; };  // of a message; rank: whose node it is

bool before(const End& a, const End& b) { return std::tie(a.source, a.tag) < std::tie(b.source, b.tag); }

/// Inverts the dependencies of one sort; the result is sorted by the node that is waited for.
void invert(const Column& c, bool begun, std::vector<std::int32_t>& first, std::vector<std::int32_t>& list) {
  const auto edges = static_cast<std::size_t>(c.starts[c.count]);
  std::size_t wanted = 0;
  for (std::size_t e = 0; e < edges; ++e) wanted += (c.begun[e] != 0) == begun;
  if (begun && wanted == 0) return;
  first.assign(c.count + 1, 0);
  list.resize(wanted);
  for (std::size_t e = 0; e < edges; ++e) {
    if ((c.begun[e] != 0) == begun) ++first[static_cast<std::size_t>(c.deps[e]) + 1];
  }
  for (std::size_t i = 0; i < c.count; ++i) first[i + 1] += first[i];
  std::vector<std::int32_t> next(first.begin(), first.end() - 1);
  for (std::size_t i = 0; i < c.count; ++i) {
    for (auto e = static_cast<std::size_t>(c.starts[i]); e < static_cast<std::size_t>(c.starts[i + 1]); ++e) {
      if ((c.begun[e] != 0) == begun) list[next[c.deps[e]]++] = static_cast<std::int32_t>(i);
    }
  }
}

}  // namespace

Graph::Graph(std::vector<Column> columns, std::vector<Group> groups, int size, int calls)
    : columns_(std::move(columns)), groups_(std::move(groups)), size_(size), calls_(calls), bases_{0},
      links_(columns_.size()) {
  if (columns_.empty() || size < told() || size % told() != 0) throw std::invalid_argument("ranks and columns differ");
  for (const Group& g : groups_) {
    const bool inside = std::ranges::all_of(g.ranks, [&](int r) { return r >= 0 && r < told(); });
    const bool ascends = std::ranges::adjacent_find(g.ranks, std::greater_equal<>()) == g.ranks.end();
    if (g.size < 0 || g.stride < 1 || std::int64_t{g.size} * g.stride > size_ || !inside || !ascends)
      throw std::invalid_argument("group " + std::to_string(&g - groups_.data()) + " has ranks that there are not");
    const int gatherings = !g.ranks.empty() ? size_ / told() : g.size ? size_ : 1;
    if (bases_.back() > kMostGatherings - gatherings) throw std::length_error("too many groups");
    bases_.push_back(bases_.back() + gatherings);
  }
  for (int r = 0; r < told(); ++r) check(r);
  for (int r = 0; r < told(); ++r) link(r);
  match();
}

std::int64_t Graph::nodes() const {
  std::int64_t sum = 0;
  for (const Column& c : columns_) sum += static_cast<std::int64_t>(c.count);
  return sum * (size_ / told());
}

void Graph::check(int rank) const {
  const Column& c = column(rank);
  std::set<std::int32_t> groups;
  if (c.count >= (std::size_t{1} << 31)) throw std::length_error("a rank has 2^31 nodes or more");
  if (c.starts[0] != 0) throw std::invalid_argument("dependencies must begin at 0");
  for (std::size_t i = 0; i < c.count; ++i) {
    if (c.starts[i + 1] < c.starts[i]) fail(rank, i, "has a negative number of dependencies");
    const auto kind = static_cast<Work>(c.kind[i]);
    if (c.kind[i] > static_cast<std::uint8_t>(Work::Memory)) fail(rank, i, "is of no kind");
    if (!(c.duration[i] >= 0) || !std::isfinite(c.duration[i])) fail(rank, i, "needs a duration of at least 0");
    if (c.nbytes[i] < 0) fail(rank, i, "has less than 0 bytes");
    if ((kind == Work::Send || kind == Work::Recv) &&
        (c.peer[i] >= told() || c.peer[i] < (kind == Work::Send ? 0 : -1)))
      fail(rank, i, "names rank " + std::to_string(c.peer[i]) + " of " + std::to_string(told()));
    if (kind != Work::Meet) continue;
    if (c.group[i] < 0 || static_cast<std::size_t>(c.group[i]) >= groups_.size()) fail(rank, i, "names no group");
    if (c.call[i] < 0 || c.call[i] >= calls_) fail(rank, i, "names no collective");
    if (!groups.insert(c.group[i]).second) continue;
    for (int r = rank; r < size_; r += told()) {
      const int at = place(r, c.group[i]), met = gathering(r, c.group[i]);
      if (at < 0) fail(r, i, "is of a group that it is no member of");
      const int last = member(met, c.group[i], members(c.group[i]) - 1);
      if (last < 0 || last >= size_) fail(r, i, "is of a group with rank " + std::to_string(last));
    }
  }
  for (std::size_t e = 0; e < static_cast<std::size_t>(c.starts[c.count]); ++e) {
    if (c.deps[e] < 0 || static_cast<std::size_t>(c.deps[e]) >= c.count)
      fail(rank, 0, "or one after it waits for node " + std::to_string(c.deps[e]) + ", which does not exist");
  }
}

void Graph::link(int rank) {
  const Column& c = column(rank);
  Links& l = links_[static_cast<std::size_t>(rank)];
  invert(c, false, l.after_first, l.after);
  invert(c, true, l.begun_first, l.begun);
  std::vector<std::int32_t> lanes;
  std::map<std::int32_t, std::int32_t> met;
  for (std::size_t i = 0; i < c.count; ++i) {
    const auto kind = static_cast<Work>(c.kind[i]);
    if (lanes.empty() || lanes.back() != c.lane[i]) lanes.push_back(c.lane[i]);
    l.wild |= kind == Work::Recv && (c.peer[i] < 0 || c.tag[i] < 0);
    if (kind != Work::Meet) continue;
    l.ordinal.resize(c.count);
    l.ordinal[i] = met[c.group[i]]++;
  }
  std::sort(lanes.begin(), lanes.end());
  lanes.erase(std::unique(lanes.begin(), lanes.end()), lanes.end());
  l.lanes = std::max(1, static_cast<int>(lanes.size()));
  if (l.lanes == 1) return;
  l.lane.resize(c.count);
  for (std::size_t i = 0; i < c.count; ++i)
    l.lane[i] = static_cast<std::int32_t>(std::ranges::lower_bound(lanes, c.lane[i]) - lanes.begin());
}

/// The k-th send of a (source, destination, tag) goes to the k-th such receive.
void Graph::match() {
  std::vector<std::vector<End>> sent(columns_.size());
  for (int r = 0; r < told(); ++r) {
    const Column& c = column(r);
    for (std::size_t i = 0; i < c.count; ++i) {
      if (static_cast<Work>(c.kind[i]) != Work::Send) continue;
      links_[r].partner.resize(c.count, -1);
      sent[c.peer[i]].push_back({r, c.tag[i], static_cast<std::int32_t>(i), r});
    }
  }
  for (int r = 0; r < told(); ++r) {
    if (links_[r].wild) continue;
    const Column& c = column(r);
    std::vector<End> received;
    for (std::size_t i = 0; i < c.count; ++i) {
      if (static_cast<Work>(c.kind[i]) == Work::Recv)
        received.push_back({c.peer[i], c.tag[i], static_cast<std::int32_t>(i), r});
    }
    std::ranges::stable_sort(sent[r], before);
    std::ranges::stable_sort(received, before);
    const std::size_t both = std::min(sent[r].size(), received.size());
    std::size_t k = 0;
    while (k < both && !before(sent[r][k], received[k]) && !before(received[k], sent[r][k])) ++k;
    if (k < sent[r].size() || k < received.size()) {
      const bool lone_send = k < sent[r].size() && (k >= received.size() || before(sent[r][k], received[k]));
      const End& lone = lone_send ? sent[r][k] : received[k];
      fail(lone.rank, lone.node, lone_send ? "sends what nothing receives" : "receives what nothing sends");
    }
    for (k = 0; k < both; ++k) links_[sent[r][k].rank].partner[sent[r][k].node] = received[k].node;
    std::vector<End>().swap(sent[r]);
  }
}

int Graph::gathering(int rank, int group) const {
  const Group& g = groups_[static_cast<std::size_t>(group)];
  const int base = bases_[static_cast<std::size_t>(group)];
  if (!g.ranks.empty()) return base + rank / told();
  if (g.size == 0) return base;
  const int block = g.size * g.stride;
  return base + rank / block * block + rank % g.stride;
}

int Graph::place(int rank, int group) const {
  const Group& g = groups_[static_cast<std::size_t>(group)];
  if (!g.ranks.empty()) {
    const auto at = std::ranges::lower_bound(g.ranks, rank - shift(rank));
    return at == g.ranks.end() || *at != rank - shift(rank) ? -1 : static_cast<int>(at - g.ranks.begin());
  }
  return g.size == 0 ? rank : rank / g.stride % g.size;
}

int Graph::member(int gathering, int group, int place) const {
  const Group& g = groups_[static_cast<std::size_t>(group)];
  const int number = gathering - bases_[static_cast<std::size_t>(group)];
  if (!g.ranks.empty()) return number * told() + g.ranks[static_cast<std::size_t>(place)];
  return g.size == 0 ? place : number + place * g.stride;
}

int Graph::members(int group) const {
  const Group& g = groups_[static_cast<std::size_t>(group)];
  return !g.ranks.empty() ? static_cast<int>(g.ranks.size()) : g.size == 0 ? size_ : g.size;
}

}  // namespace pyccl::sim
