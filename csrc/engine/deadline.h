// How long a wait may last, and what it must look at meanwhile.
#pragma once

#include <time.h>

#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>

namespace pyccl {

/// Seconds of CLOCK_MONOTONIC: never jumps with the wall clock.
inline double monotonic_seconds() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// "0.3 s"
inline std::string format_seconds(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%g s", seconds);
  return text;
}

/// One operation's time limit. `poll` is called at least every 50 ms of a wait (signals, dead peers) and may throw.
/// The clock is first read when a wait becomes slow, which a wait that never does need not pay for.
class Deadline {
 public:
  Deadline(double seconds, const std::function<void()>* poll) : limit_(seconds), poll_(poll) {}

  double seconds() const { return limit_; }
  double remaining() const {
    const double now = monotonic_seconds();
    if (start_ < 0) start_ = now;
    return limit_ + grace_ - (now - start_);
  }
  /// The same limit, given up `grace` seconds later: for who waits for somebody who may be waiting himself.
  Deadline patient(double grace) const {
    remaining();  // starts the clock of both
    Deadline later = *this;
    later.grace_ = grace;
    return later;
  }
  void poll() const {
    if (poll_ && *poll_) (*poll_)();
  }

 private:
  double limit_;
  const std::function<void()>* poll_;
  double grace_ = 0;
  mutable double start_ = -1;
};

}  // namespace pyccl
