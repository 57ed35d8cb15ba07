// Waiting for what only polling can see.
#pragma once

#include <time.h>

#include "engine/deadline.h"

namespace pyccl {

/// Waits politely for something that only polling can see: spin, then sleep ever longer, 0.2 ms at most.
class Backoff {
 public:
  explicit Backoff(const Deadline& deadline) : deadline_(deadline) {}
  void progressed() { idle_ = 0; }
  /// `expired` is called when the time limit has passed; it throws.
  template <class Expired> void idle(Expired&& expired) {
    if (++idle_ < deadline_.looks()) return;
    if (idle_ % 64 == 0) {
      deadline_.poll();
      if (deadline_.remaining() < 0) expired();
    }
    const long nanoseconds = idle_ < deadline_.looks() + 1800 ? 1000 : 200000;
    const timespec pause{0, nanoseconds};
    nanosleep(&pause, nullptr);
  }

 private:
  const Deadline& deadline_;
  int idle_ = 0;
};

}  // namespace pyccl
