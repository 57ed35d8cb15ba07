// One link whose transfers share it equally: processor sharing by virtual time, O(log n) an event.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "sim/heap.h"

namespace pyccl::sim {

/// Virtual time is what each transfer has moved since the link was made; a transfer of n bytes that enters at V ends
/// at V + n, whoever comes and goes meanwhile.
class SharedLink {
 public:
  /// No transfer goes faster than `limit` bytes/s.
  explicit SharedLink(double bandwidth, double limit = std::numeric_limits<double>::infinity())
      : bandwidth_(bandwidth), limit_(limit) {}

  void enter(std::uint32_t who, double bytes, double now) {
    advance(now);
    ends_.push(Event::make(moved_ + bytes, 0, who));
    ++open_;
  }
  bool busy() const { return open_ > 0; }
  /// When the next transfer ends, if nobody enters before.
  double next() const { return since_ + std::max(0.0, ends_.top().time - moved_) / rate(); }
  /// Ends it, and says whose it was.
  std::uint32_t leave(double now) {
    const Event first = ends_.pop();
    since_ = now;
    moved_ = first.time;
    --open_;
    return first.who();
  }

 private:
  double rate() const { return std::min(limit_, bandwidth_ / open_); }
  void advance(double now) {
    if (open_ > 0) moved_ += (now - since_) * rate();
    since_ = now;
  }

  double bandwidth_, limit_, moved_ = 0, since_ = 0;
  int open_ = 0;
  Heap ends_;
};

}  // namespace pyccl::sim
