// Who decides what everybody goes by, and how.
#include <algorithm>
#include <utility>

#include "engine/deadline.h"
#include "server/group.h"

namespace pyccl::server {
namespace {

/// Seconds that a leader has to publish what it sees. Then any other does: the leader may be stopped, and what it
/// publishes when it goes on is of a term that has passed.
constexpr double kLease = 0.5;

/// The first of `most` servers from the shard's own on, in a circle, that live.
std::vector<int> line_of(int shard, const std::vector<int>& servers, const std::vector<char>& living, int most) {
  std::vector<int> line;
  const int n = static_cast<int>(servers.size());
  for (int step = 0; step < n && static_cast<int>(line.size()) < most; ++step) {
    const int server = (shard + step) % n;
    if (living[static_cast<std::size_t>(servers[static_cast<std::size_t>(server)])] != 0) line.push_back(server);
  }
  return line;
}

}  // namespace

/// The lowest rank that lives and serves, of all or of this node: a server has a thread that looks, a worker may
/// compute for an hour. If none does, the lowest that lives; -1 if nobody does.
int Group::leader(const std::vector<char>& living, bool of_node) const {
  const auto may = [&](int rank) { return living[static_cast<std::size_t>(rank)] != 0 && (!of_node || here(rank)); };
  int found = -1;
  for (const int rank : setup_.servers) {
    if (may(rank) && (found < 0 || rank < found)) found = rank;
  }
  for (int rank = 0; found < 0 && rank < setup_.size; ++rank) {
    if (may(rank)) found = rank;
  }
  return found;
}

View Group::first_view() const {
  View view;
  view.living.assign(static_cast<std::size_t>(setup_.size), 1);
  view.leader = leader(view.living, false);
  for (int shard = 0; shard < shards(); ++shard)
    view.lines.push_back(line_of(shard, setup_.servers, view.living, setup_.replicas + 1));
  return view;
}

/// A shard goes to the next server of its line. If that has no whole copy the shard is lost, whatever comes later:
/// clients have been told so. Over several nodes, each of which has a leader, a view and its number follow from who is
/// gone and which shards are lost: leaders that know the same decide the same, and what they know only grows.
View Group::next_view(const View& last, std::vector<char> living) const {
  View view{.term = last.term + 1, .leader = setup_.rank, .living = std::move(living), .lines = last.lines};
  std::uint32_t known = 0;
  for (int shard = 0; shard < shards(); ++shard) {
    std::vector<int>& line = view.lines[static_cast<std::size_t>(shard)];
    if (!line.empty()) line = line_of(shard, setup_.servers, view.living, setup_.replicas + 1);
    const bool gone = !line.empty() && here(rank_of(line.front())) && !ready(shard, line.front());
    if (gone && several_nodes()) lost(shard) = true;
    if (gone || lost(shard)) line.clear();
    known += lost(shard) ? 1 : 0;
  }
  if (!several_nodes()) return view;
  for (const char alive : view.living) known += alive == 0 ? 1 : 0;
  view.term = 1 + known;
  view.leader = leader(view.living, false);
  return view;
}

/// Whether the last view no longer holds.
bool Group::outdated(const View& last, const std::vector<char>& living) const {
  for (int shard = 0; shard < shards(); ++shard) {
    if (lost(shard) && !last.line(shard).empty()) return true;
  }
  return living != last.living;
}

void Group::lose(int shard) {
  if (lost(shard).exchange(true)) return;
  news_->fetch_add(1, std::memory_order_release);
  wake_all();
  lead();
}

void Group::lead() {
  const std::lock_guard lock(leading_);
  const View last = board_.read();
  std::vector<char> living;
  for (int rank = 0; rank < setup_.size; ++rank) living.push_back(lives(rank));
  if (!outdated(last, living) || living[own_rank()] == 0 || cut_off()) return;
  const double now = monotonic_seconds();
  if (noticed_term_ != last.term) {
    noticed_term_ = last.term;
    noticed_ = now;
  }
  if (leader(living, true) != setup_.rank && now < noticed_ + kLease) return;
  View next = next_view(last, std::move(living));
  next.noticed = static_cast<std::int64_t>(noticed_ * 1e9);
  if (board_.publish(next)) wake_all();
}

}  // namespace pyccl::server
