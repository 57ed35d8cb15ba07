// Waiting for a word in shared memory: spin, yield, then block on a futex.
#pragma once

#include <atomic>
#include <cstdint>

#include "engine/deadline.h"

namespace pyccl::shm {

/// How a node waits; the same on all its ranks.
struct WaitPolicy {
  bool crowded = false;  // more ranks than cores: one arrival counter instead of a line per peer
  double spin = 300e-6;  // seconds of polling before blocking (not crowded)
  int yields = 0;        // sched_yield calls before blocking (crowded); 0 where they do not reach the other ranks
};

void futex_wake_all(std::atomic<std::uint32_t>& word);
/// Sleeps while `word` is `value`, at most `seconds`.
void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t value, double seconds);

/// A waiter's view of "not yet": called between sleeps; throws to give up.
class Interrupt {
 public:
  virtual ~Interrupt() = default;
  virtual void check() = 0;
};

/// Returns once `word` == `value`. `waiters` tells the writer that somebody may be asleep.
void wait_equal(std::atomic<std::uint32_t>& word, std::uint32_t value, std::atomic<std::uint32_t>& waiters,
                const WaitPolicy& policy, const Deadline& deadline, Interrupt& interrupt);

/// Gives the core to the node's other ranks as long as that works. Where a stranger is busy, too, a yield hands him a
/// whole slice of several milliseconds: then it is better to block for a while.
class Yielding {
 public:
  /// True once `word` == `value`; false: block. At most `times` yields.
  bool until(const std::atomic<std::uint32_t>& word, std::uint32_t value, int times);

 private:
  int blocked_ = 0;  // waits still to be spent blocking
  int penalty_ = 0;  // how many the next lost slice costs
};

/// Stores and wakes. Sequentially consistent on both sides: either the writer sees the waiter or the waiter the value.
inline void post(std::atomic<std::uint32_t>& word, std::uint32_t value, std::atomic<std::uint32_t>& waiters) {
  word.store(value, std::memory_order_seq_cst);
  if (waiters.load(std::memory_order_seq_cst) != 0) futex_wake_all(word);
}

}  // namespace pyccl::shm
