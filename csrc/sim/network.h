// Flows that share links: max-min fair rates, kept up to date where something has changed.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace pyccl::sim {

/// Rates are those of progressive filling: all flows grow alike until a link is full, or a flow at its own limit.
/// What has changed at one instant is settled once, on the connected component of links and flows that it touched.
class Network {
 public:
  /// `capacity`: bytes/s of every link. Flows are numbered below `flows`.
  Network(std::vector<double> capacity, int flows);
  /// From now on flows are numbered below `flows`, which must not be fewer than before.
  void allow(int flows) { flows_.resize(static_cast<std::size_t>(flows)); }

  /// `flow`, which must not be under way, begins to move `bytes` over `links` (each named once; they must outlive
  /// it) at no more than `limit` bytes/s. Of each byte a link carries its share, all of it if there are no `shares`.
  void start(int flow, std::span<const int> links, double bytes, double limit, double now,
             std::span<const double> shares = {});
  /// From now on `flow` stands for `weight` flows like it; `rate` is that of each.
  void weigh(int flow, double weight);
  /// `flow` has moved all its bytes, or is given up.
  void stop(int flow);
  bool changed() const { return !touched_.empty(); }

  /// Finds the new rates; calls `visit(flow, time)` for each flow whose end has moved to `time`.
  template <class Visit> void settle(double now, Visit&& visit) {
    fill(now);
    for (const int flow : moved_) visit(flow, flows_[flow].end);
  }

  /// How many rates have been found so far.
  std::int64_t found() const { return found_; }
  double rate(int flow) const { return flows_[flow].rate; }

 private:
  struct Flow {
    std::span<const int> links;
    std::span<const double> shares;
    std::vector<int> places;  // by link: where in that link's list
    double left = 0, rate = 0, before = 0, since = 0, limit = 0, end = 0, weight = 1;
    double demand(std::size_t place) const { return shares.empty() ? weight : weight * shares[place]; }
    bool fixed = false;
    std::uint64_t seen = 0;
  };
  struct Member { int flow, place; };
  struct Link {
    double capacity, left = 0, demand = 0;  // for each byte/s of all that are open
    int open = 0;
    std::uint64_t seen = 0;
    std::vector<Member> flows;
  };

  void fill(double now);
  void collect(int link);
  void grow();
  void fix(Flow& flow, double rate);
  void move(int flow, double now);

  std::vector<Flow> flows_;
  std::vector<Link> links_;
  std::vector<int> touched_;  // links
  std::vector<int> part_links_, part_flows_, full_, moved_;
  std::uint64_t stamp_ = 0;
  std::int64_t found_ = 0;
};

}  // namespace pyccl::sim
