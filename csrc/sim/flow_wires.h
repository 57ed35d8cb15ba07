// Parts of messages as max-min fair flows over a cluster's routes, to shards that may die and be taken over.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sim/agenda.h"
#include "sim/heap.h"
#include "sim/network.h"
#include "sim/table.h"
#include "sim/wires.h"

namespace pyccl::sim {

struct FlowSetting {
  std::uint32_t slots, servers;           // a shard for each server
  std::vector<double> capacity, latency;  // of links
  /// A route without links costs nothing.
  Table up, down, across;       // [client][server], likewise, [server][server]
  double push, pull, state;     // bytes of a shard's part of a push, of a pull, of what its replicas keep
  double apply = 0;             // seconds that a server needs for its part of a push
  std::uint32_t replicas = 0;   // of each shard, on the servers that follow its own
  std::uint32_t dead = 0;       // the server that dies
  double dies = Wires::kNever;  // when
  double recovery = 0;          // seconds until its shards are served again
};

class FlowWires final : public Wires {
 public:
  explicit FlowWires(FlowSetting setting);

  void send(std::uint32_t slot, std::uint32_t client, Way way, double now) override;
  Split so_far(std::uint32_t slot, double now) override;
  void cancel(std::uint32_t slot, double now) override;
  double next(double other) override;
  bool advance(Arrival& arrival) override;
  bool replicated() const override { return s_.replicas > 0; }
  bool lost() const override { return lost_; }
  Outage outage() const override { return outage_; }

  /// Bytes that have crossed each link.
  const std::vector<double>& link_bytes() const { return bytes_; }

 private:
  enum class Stage : std::uint8_t { Idle, Moving, Landing, Applying, Stalled };
  struct Part {
    Stage stage = Stage::Idle;
    std::uint32_t hop = 0;      // of a chain
    std::uint32_t attempt = 0;  // events of earlier ones are void
    double latency = 0;         // so far
    std::span<const int> route;
  };
  struct Message {
    Way way = Way::Push;
    std::uint32_t client = 0, parts = 0;  // parts under way
    double since = 0;
    bool stalled = false;
  };

  std::uint32_t message_of(std::uint32_t part) const { return part / s_.servers; }
  std::uint32_t shard_of(std::uint32_t part) const { return part % s_.servers; }
  std::uint32_t owner(std::uint32_t shard) const { return holders_[shard].front(); }
  double bytes(const Message& message) const;
  std::span<const int> route(std::uint32_t part) const;
  void set_out(std::uint32_t part);
  void moved(std::uint32_t part);
  bool landed(std::uint32_t part, Arrival& arrival);
  bool done(std::uint32_t part, Arrival& arrival);
  void stop(std::uint32_t part);
  void later(std::uint32_t part, Stage stage, double when);
  double latency_of(std::span<const int> links) const;
  double alone_of_all(const Message& message);
  double alone_chain(std::uint32_t shard) const;
  bool unserved(std::uint32_t part) const;
  void die();
  void restore();

  FlowSetting s_;
  Network network_;
  std::vector<Message> messages_;                    // of slots; then their commits
  std::vector<Part> parts_;                          // [message][shard]
  std::vector<std::vector<std::uint32_t>> holders_;  // of each shard, the owner first
  std::vector<double> free_, bytes_, load_;          // of servers: when idle; of links
  std::vector<double> alone_up_, alone_down_;        // of clients, below 0 where not known
  Agenda ends_;                                      // of parts: when they have moved
  Heap events_;
  double now_ = 0;
  Outage outage_;
  bool dead_now_ = false, lost_ = false;
};

}  // namespace pyccl::sim
