// One link whose transfers share it equally: processor sharing by virtual time, O(log n) an event.
#pragma once

#include <cstdint>
#include <vector>

#include "sim/heap.h"

namespace pyccl::sim {

/// Virtual time is what each transfer has moved since the link was made; a transfer of n bytes that enters at V ends
/// at V + n, whoever comes and goes meanwhile.
class SharedLink {
 public:
  explicit SharedLink(double bandwidth) : bandwidth_(bandwidth) {}

  void enter(std::uint32_t who, double bytes, double now) {
    advance(now);
    ends_.push(Event::make(moved_ + bytes, 0, who));
    ++open_;
  }
  bool busy() const { return open_ > 0; }
  /// When the next transfer ends, if nobody enters before.
  double next() const { return since_ + (ends_.top().time - moved_) * open_ / bandwidth_; }
  /// Ends it, and says whose it was.
  std::uint32_t leave(double now) {
    const Event first = ends_.pop();
    since_ = now;
    moved_ = first.time;
    --open_;
    return first.who();
  }

 private:
  void advance(double now) {
    if (open_ > 0) moved_ += (now - since_) * bandwidth_ / open_;
    since_ = now;
  }

  double bandwidth_, moved_ = 0, since_ = 0;
  int open_ = 0;
  Heap ends_;
};

struct PushPull {
  int workers, rounds;
  const double* compute;  // seconds, [worker][round]
  double push, pull;      // bytes
  double push_bandwidth, pull_bandwidth;
};

/// Workers that each compute, push over one shared link and pull over another, round after round, without waiting for
/// each other. Returns when each has ended.
std::vector<double> push_pull(const PushPull& setting);

}  // namespace pyccl::sim
