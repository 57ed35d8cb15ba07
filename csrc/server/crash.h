// Where a server can be made to die, for tests: at each step of a change's way.
#pragma once

#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>

namespace pyccl::server {

enum class Point : int {
  Nowhere,
  Taken,        // an owner is about to apply a change
  Applied,      // has applied it, and not passed it on
  PassedOn,     // has passed it on, or has nobody to
  Answered,     // has told a client that it is done
  Received,     // a replica is about to apply a change
  Replicated,   // has applied it, and not acknowledged it
  Confirmed,    // has acknowledged it
  HandingOver,  // is making another copy
  Adopting,     // takes in a part of a copy
  Succeeding,   // has noticed that another server is dead
  Leading,      // has written the next view, and not published it
};
inline constexpr std::array kPoints{"nowhere",    "taken",     "applied",      "passed on", "answered",   "received",
                                    "replicated", "confirmed", "handing over", "adopting",  "succeeding", "leading"};

struct Crash {
  std::atomic<Point> at{Point::Nowhere};
  std::atomic<int> left{0};  // times to pass it, that one included
};
inline Crash planned_crash;

/// kill -9 of this process if it is to die here.
inline void pass(Point point) {
  if (planned_crash.at.load(std::memory_order_relaxed) != point) return;
  if (planned_crash.left.fetch_sub(1, std::memory_order_relaxed) == 1) kill(getpid(), SIGKILL);
}

}  // namespace pyccl::server
