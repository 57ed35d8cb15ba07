#include "sim/ways.h"

#include <algorithm>
#include <map>
#include <utility>

namespace pyccl::sim {
namespace {

constexpr std::uint32_t kNobody = 0xffffffffU, kSeveral = 0xfffffffeU;
constexpr std::size_t kCandidates = 4;

struct Load {
  int link;
  double share;
};
using Bundle = std::vector<Load>;  // by link, ascending

class Sorter {
 public:
  Sorter(const std::vector<double>& capacity, const std::vector<double>& latency)
      : capacity_(capacity), latency_(latency), users_(capacity.size(), kNobody), bundles_of_(capacity.size()) {}

  /// Takes in a client's message over `servers` rows of a table; returns latency and seconds a byte.
  std::pair<double, double> add(std::uint32_t client, const Table& table, std::uint32_t servers);
  Ways sort(std::size_t clients);

 private:
  double weight(const Load& load) const { return load.share / capacity_[load.link]; }
  const Load* find(const Bundle& bundle, int link) const;
  bool dominated(int link) const;
  bool dominates(int other, int link) const;
  void prune();

  const std::vector<double>& capacity_;
  const std::vector<double>& latency_;
  std::vector<std::uint32_t> users_;                    // of each link: the client, or how many
  std::vector<std::vector<std::uint32_t>> bundles_of_;  // of each link that several use
  std::vector<Bundle> bundles_;
  std::vector<double> limits_;
  std::vector<char> gone_;
};

std::pair<double, double> Sorter::add(std::uint32_t client, const Table& table, std::uint32_t servers) {
  Bundle bundle;
  double farthest = 0, slowest = 0;
  for (std::uint32_t server = 0; server < servers; ++server) {
    double latency = 0;
    for (const int link : table.row(std::size_t{client} * servers + server)) {
      latency += latency_[link];
      bundle.push_back({link, 1.0 / servers});
    }
    farthest = std::max(farthest, latency);
  }
  std::stable_sort(bundle.begin(), bundle.end(), [](const Load& a, const Load& b) { return a.link < b.link; });
  std::size_t kept = 0;
  for (std::size_t i = 0; i < bundle.size(); ++i) {
    if (kept > 0 && bundle[kept - 1].link == bundle[i].link) bundle[kept - 1].share += bundle[i].share;
    else bundle[kept++] = bundle[i];
  }
  bundle.resize(kept);
  for (const Load& load : bundle) {
    auto& user = users_[load.link];
    if (user != client) user = user == kNobody ? client : kSeveral;
    slowest = std::max(slowest, weight(load));
  }
  bundles_.push_back(std::move(bundle));
  return {farthest, slowest};
}

const Load* Sorter::find(const Bundle& bundle, int link) const {
  const auto at = std::lower_bound(bundle.begin(), bundle.end(), link,
                                   [](const Load& load, int wanted) { return load.link < wanted; });
  return at != bundle.end() && at->link == link ? &*at : nullptr;
}

bool Sorter::dominates(int other, int link) const {
  return std::all_of(bundles_of_[link].begin(), bundles_of_[link].end(), [&](std::uint32_t number) {
    const Load *theirs = find(bundles_[number], other), *ours = find(bundles_[number], link);
    return theirs != nullptr && weight(*ours) <= weight(*theirs);
  });
}

// Whatever dominates a link is on every bundle that crosses it; the most loaded ones are the likely ones.
bool Sorter::dominated(int link) const {
  Bundle candidates = bundles_[bundles_of_[link].front()];
  std::erase_if(candidates, [&](const Load& load) { return load.link == link || gone_[load.link]; });
  const auto first = std::min(kCandidates, candidates.size());
  std::partial_sort(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(first), candidates.end(),
                    [&](const Load& a, const Load& b) { return weight(a) > weight(b); });
  return std::any_of(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(first),
                     [&](const Load& load) { return dominates(load.link, link); });
}

void Sorter::prune() {
  limits_.assign(bundles_.size(), std::numeric_limits<double>::infinity());
  for (std::uint32_t number = 0; number < bundles_.size(); ++number) {
    auto& bundle = bundles_[number];
    for (const Load& load : bundle) {
      if (users_[load.link] == kSeveral) bundles_of_[load.link].push_back(number);
      else limits_[number] = std::min(limits_[number], 1 / weight(load));
    }
    std::erase_if(bundle, [&](const Load& load) { return users_[load.link] != kSeveral; });
  }
  gone_.assign(capacity_.size(), 0);
  for (std::size_t link = 0; link < capacity_.size(); ++link) {
    gone_[link] = !bundles_of_[link].empty() && dominated(static_cast<int>(link));
  }
  for (std::size_t number = 0; number < bundles_.size(); ++number) {
    auto& bundle = bundles_[number];
    std::erase_if(bundle, [&](const Load& load) { return gone_[load.link]; });
    const bool limits = std::any_of(bundle.begin(), bundle.end(),
                                    [&](const Load& load) { return 1 / weight(load) <= limits_[number]; });
    if (limits) limits_[number] = std::numeric_limits<double>::infinity();
  }
}

Ways Sorter::sort(std::size_t clients) {
  prune();
  Ways ways;
  std::map<std::pair<double, std::vector<std::pair<int, double>>>, std::uint32_t> known;
  for (std::size_t number = 0; number < bundles_.size(); ++number) {
    std::vector<std::pair<int, double>> loads;
    for (const Load& load : bundles_[number]) loads.emplace_back(load.link, load.share);
    const auto [at, made] =
        known.try_emplace({limits_[number], std::move(loads)}, static_cast<std::uint32_t>(ways.groups.size()));
    if (made) {
      Group group;
      for (const Load& load : bundles_[number]) {
        group.links.push_back(load.link);
        group.shares.push_back(load.share);
      }
      group.limit = limits_[number];
      ways.groups.push_back(std::move(group));
    }
    (number < clients ? ways.up : ways.down).push_back(at->second);
  }
  return ways;
}

}  // namespace

Ways find_ways(const Table& up, const Table& down, std::uint32_t servers, const std::vector<double>& capacity,
               const std::vector<double>& latency) {
  const std::size_t clients = up.ends.size() / servers;
  Sorter sorter(capacity, latency);
  std::vector<std::pair<double, double>> costs;
  for (const Table* table : {&up, &down}) {
    for (std::uint32_t client = 0; client < clients; ++client) costs.push_back(sorter.add(client, *table, servers));
  }
  Ways ways = sorter.sort(clients);
  for (std::size_t i = 0; i < costs.size(); ++i) {
    (i < clients ? ways.latency_up : ways.latency_down).push_back(costs[i].first);
    (i < clients ? ways.per_byte_up : ways.per_byte_down).push_back(costs[i].second);
  }
  return ways;
}

}  // namespace pyccl::sim
