// Equal workers and equal servers on a switch: one shared link each way stands for all.
#pragma once

#include <vector>

#include "sim/heap.h"
#include "sim/shared_link.h"
#include "sim/wires.h"

namespace pyccl::sim {

struct Lane {
  double bytes;     // of a worker's message to, or from, all shards
  double capacity;  // bytes/s of all servers together
  double limit;     // bytes/s of a worker
};

/// A message has a part of equal size for each server; all servers then see the same, and the parts move as one.
class UniformWires final : public Wires {
 public:
  /// `apply`: seconds that a server needs for its part of a push, one push after the other.
  UniformWires(Lane push, Lane pull, double latency, double apply, std::uint32_t slots);

  void send(std::uint32_t slot, std::uint32_t client, Way way, double now) override;
  Split so_far(std::uint32_t slot, double now) override;
  void cancel(std::uint32_t slot, double now) override;
  double next(double other) override;
  bool advance(Arrival& arrival) override;

 private:
  struct Link {
    Lane lane;
    SharedLink link;
    double alone;
    double next() const { return link.busy() ? link.next() : kNever; }
  };

  struct Message {
    double since;
    Way way;
  };

  void finish(std::uint32_t slot, double now, Arrival& arrival);
  Link& of(Way way) { return way == Way::Push ? push_ : pull_; }

  Link push_, pull_;
  double latency_, apply_, free_ = 0;
  std::vector<Message> messages_;  // of slots
  Heap landing_;
};

}  // namespace pyccl::sim
