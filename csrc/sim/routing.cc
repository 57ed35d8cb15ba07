#include "sim/routing.h"

#include <algorithm>
#include <limits>

namespace pyccl::sim {
namespace {

constexpr int kNobody = -1, kSeveral = -2;

void note(int& user, int who) {
  if (user != who) user = user == kNobody ? who : kSeveral;
}

}  // namespace

// A rank sends one message at a time and receives one at a time: a link that carries messages from one sender only, or
// to one receiver only, never has two of them.
Routing::Routing(const Play& play, const Routes& routes) {
  if (routes.ends.empty()) {
    latency_ = routes.latency;
    limit_ = routes.capacity;
    return;
  }
  struct Users { int sender = kNobody, receiver = kNobody; };
  std::vector<Users> users(routes.capacity.size());
  const auto numbers = static_cast<std::int64_t>(play.pair_src.size());
  std::int64_t at = 0;
  for (std::int64_t pair = 0; pair < play.pairs(); ++pair) {
    const int shift = play.rotates ? static_cast<int>(pair / numbers) : 0;
    const auto number = static_cast<std::size_t>(pair % numbers);
    const int sender = play.pair_src[number] + shift, receiver = (play.pair_dst[number] + shift) % play.size;
    for (; at < routes.ends[pair]; ++at) {
      note(users[routes.links[at]].sender, sender);
      note(users[routes.links[at]].receiver, receiver);
    }
  }
  latency_.assign(routes.ends.size(), 0);
  limit_.assign(routes.ends.size(), std::numeric_limits<double>::infinity());
  shared_ends_.reserve(routes.ends.size());
  at = 0;
  for (std::size_t pair = 0; pair < routes.ends.size(); ++pair) {
    for (; at < routes.ends[pair]; ++at) {
      const int link = routes.links[at];
      latency_[pair] += routes.latency[link];
      if (users[link].sender == kSeveral && users[link].receiver == kSeveral) shared_.push_back(link);
      else limit_[pair] = std::min(limit_[pair], routes.capacity[link]);
    }
    shared_ends_.push_back(static_cast<std::int64_t>(shared_.size()));
  }
}

}  // namespace pyccl::sim
