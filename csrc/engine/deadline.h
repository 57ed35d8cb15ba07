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
/// `carry` is called every millisecond at least: MPI libraries move bytes only while they are called, also those of
/// sends that are complete already.
/// The clock is first read when a wait becomes slow, which a wait that never does need not pay for.
class Deadline {
 public:
  Deadline(double seconds, const std::function<void()>* poll, const std::function<void()>* carry = nullptr,
           int looks = 200)
      : limit_(seconds), poll_(poll), carry_(carry), looks_(looks) {}

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
  /// How often to look for a message from another node before sleeping.
  int looks() const { return looks_; }
  bool carries() const { return carry_ && *carry_; }
  void carry() const { (*carry_)(); }

 private:
  double limit_;
  const std::function<void()>* poll_;
  const std::function<void()>* carry_;
  int looks_;
  double grace_ = 0;
  mutable double start_ = -1;
};

}  // namespace pyccl
