#include "sim/network.h"

#include <algorithm>
#include <limits>

namespace pyccl::sim {
namespace {

// Links whose shares differ by rounding alone are full at the same level.
constexpr double kSameLevel = 1 + 1e-12;

}  // namespace

Network::Network(std::vector<double> capacity, int flows) : flows_(static_cast<std::size_t>(flows)) {
  links_.reserve(capacity.size());
  for (const double c : capacity) links_.push_back({c, 0, 0, 0, 0, {}});
}

void Network::start(int flow, std::span<const int> links, double bytes, double limit, double now,
                    std::span<const double> shares) {
  Flow& f = flows_[flow];
  f.links = links;
  f.shares = shares;
  f.weight = 1;
  f.places.resize(links.size());
  f.left = bytes;
  f.rate = 0;
  f.since = now;
  f.limit = limit;
  f.end = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < links.size(); ++i) {
    auto& members = links_[links[i]].flows;
    f.places[i] = static_cast<int>(members.size());
    members.push_back({flow, static_cast<int>(i)});
  }
  touched_.insert(touched_.end(), links.begin(), links.end());
}

void Network::weigh(int flow, double weight) {
  Flow& f = flows_[flow];
  f.weight = weight;
  touched_.insert(touched_.end(), f.links.begin(), f.links.end());
}

void Network::stop(int flow) {
  Flow& f = flows_[flow];
  for (std::size_t i = 0; i < f.links.size(); ++i) {
    auto& members = links_[f.links[i]].flows;
    const Member last = members.back();
    members[f.places[i]] = last;
    flows_[last.flow].places[last.place] = f.places[i];
    members.pop_back();
  }
  touched_.insert(touched_.end(), f.links.begin(), f.links.end());
}

void Network::collect(int link) {
  Link& l = links_[link];
  if (l.seen == stamp_) return;
  l.seen = stamp_;
  l.left = l.capacity;
  l.demand = 0;
  l.open = static_cast<int>(l.flows.size());
  if (l.open > 0) part_links_.push_back(link);
}

void Network::fill(double now) {
  ++stamp_;
  moved_.clear();
  for (const int touched : touched_) {
    part_links_.clear();
    part_flows_.clear();
    collect(touched);
    for (std::size_t at = 0; at < part_links_.size(); ++at) {
      const int number = part_links_[at];
      for (const Member& member : links_[number].flows) {
        Flow& f = flows_[member.flow];
        links_[number].demand += f.demand(static_cast<std::size_t>(member.place));
        if (f.seen == stamp_) continue;
        f.seen = stamp_;
        f.fixed = false;
        f.before = f.rate;
        part_flows_.push_back(member.flow);
        for (const int link : f.links) collect(link);
      }
    }
    if (part_flows_.empty()) continue;
    found_ += static_cast<std::int64_t>(part_flows_.size());
    grow();
    for (const int flow : part_flows_) {
      if (flows_[flow].rate != flows_[flow].before) move(flow, now);
    }
  }
  touched_.clear();
}

void Network::fix(Flow& flow, double rate) {
  flow.fixed = true;
  flow.rate = rate;
  for (std::size_t i = 0; i < flow.links.size(); ++i) {
    Link& link = links_[flow.links[i]];
    const double demand = flow.demand(i);
    link.left -= rate * demand;
    link.demand -= demand;
    --link.open;
  }
}

void Network::grow() {
  auto& limited = part_flows_;
  const auto differs = [&](int flow) { return flows_[flow].limit != flows_[limited.front()].limit; };
  if (std::any_of(limited.begin(), limited.end(), differs)) {
    std::sort(limited.begin(), limited.end(), [&](int a, int b) {
      return flows_[a].limit != flows_[b].limit ? flows_[a].limit < flows_[b].limit : a < b;
    });
  }
  std::size_t next = 0;
  for (auto& full = full_;;) {
    while (next < limited.size() && flows_[limited[next]].fixed) ++next;
    if (next == limited.size()) return;
    std::erase_if(part_links_, [&](int link) { return links_[link].open == 0; });
    double level = std::numeric_limits<double>::infinity();
    for (const int link : part_links_) level = std::min(level, links_[link].left / links_[link].demand);
    if (flows_[limited[next]].limit <= level) {
      fix(flows_[limited[next]], flows_[limited[next]].limit);
      continue;
    }
    full.clear();
    for (const int link : part_links_) {
      if (links_[link].left / links_[link].demand <= level * kSameLevel) full.push_back(link);
    }
    for (const int link : full) {
      for (const Member& member : links_[link].flows) {
        if (!flows_[member.flow].fixed) fix(flows_[member.flow], level);
      }
    }
  }
}

void Network::move(int flow, double now) {
  Flow& f = flows_[flow];
  f.left = std::max(0.0, f.left - f.before * (now - f.since));
  f.since = now;
  f.end = now + f.left / f.rate;
  moved_.push_back(flow);
}

}  // namespace pyccl::sim
