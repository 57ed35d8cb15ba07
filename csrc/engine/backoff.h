// Waiting for what only polling can see.
#pragma once

#include <sched.h>
#include <time.h>

#include "engine/deadline.h"

namespace pyccl {

/// What to do after the `idle`-th look in vain. Who looks gives his core away each time, as MPI libraries do: the ranks
/// of several nodes may share it without knowing of each other. In the end he sleeps, 0.2 ms at most.
inline void rest(int idle, int looks) {
  if (idle < looks) {
    sched_yield();
    return;
  }
  const timespec pause{0, idle < looks + 1800 ? 1000 : 200000};
  nanosleep(&pause, nullptr);
}

/// Waits politely for something that only polling can see.
class Backoff {
 public:
  explicit Backoff(const Deadline& deadline) : deadline_(deadline) {}
  void progressed() { idle_ = 0; }
  /// `expired` is called when the time limit has passed; it throws.
  template <class Expired> void idle(Expired&& expired) {
    if (++idle_ >= deadline_.looks() && idle_ % 64 == 0) {
      deadline_.poll();
      if (deadline_.remaining() < 0) expired();
    }
    rest(idle_, deadline_.looks());
  }

 private:
  const Deadline& deadline_;
  int idle_ = 0;
};

}  // namespace pyccl
