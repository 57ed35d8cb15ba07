#include "shm/wait.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

namespace pyccl::shm {
namespace {

constexpr double kLostSlice = 1e-3;  // longer than the ranks of one core work between two meetings, as a rule
constexpr int kLeastPenalty = 32, kMostPenalty = 1024;
constexpr double kSlice = 0.05;  // the longest sleep between two looks at signals, deadlines and peers
constexpr double kShortCarry = 50e-6, kLongCarry = 1e-3;  // sleeps between two turns at carrying messages

bool poll_equal(const std::atomic<std::uint32_t>& word, std::uint32_t value, int times) {
  for (int i = 0; i < times; ++i) {
    if (word.load(std::memory_order_acquire) == value) return true;
  }
  return false;
}

/// Between nodes the rank that brings the news may need this core: see rest() in engine/backoff.h.
bool spin(const std::atomic<std::uint32_t>& word, std::uint32_t value, double seconds, bool yields) {
  if (!yields && poll_equal(word, value, 4000)) return true;  // about 10 us without a look at the clock
  const double end = monotonic_seconds() + seconds;
  do {
    if (poll_equal(word, value, 256)) return true;
    if (yields) sched_yield();
  } while (monotonic_seconds() < end);
  return false;
}

}  // namespace

bool Yielding::until(const std::atomic<std::uint32_t>& word, std::uint32_t value, int times) {
  if (times == 0) return false;
  if (word.load(std::memory_order_acquire) == value) return true;
  if (blocked_ > 0) {
    --blocked_;
    return false;
  }
  double before = monotonic_seconds();
  for (int i = 0; i < times; ++i) {
    sched_yield();
    const double after = monotonic_seconds();
    const bool done = word.load(std::memory_order_acquire) == value;
    if (after - before > kLostSlice) {
      blocked_ = penalty_ = std::clamp(2 * penalty_, kLeastPenalty, kMostPenalty);
      return done;
    }
    if (done) {
      penalty_ = std::max(0, penalty_ - 1);
      return true;
    }
    before = after;
  }
  return false;
}

void futex_wake_all(std::atomic<std::uint32_t>& word) {
  syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t value, double seconds) {
  timespec t{static_cast<time_t>(seconds), 0};
  t.tv_nsec = static_cast<long>((seconds - static_cast<double>(t.tv_sec)) * 1e9);
  syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), FUTEX_WAIT, value, &t, nullptr, 0);
}

void wait_equal(std::atomic<std::uint32_t>& word, std::uint32_t value, std::atomic<std::uint32_t>& waiters,
                const WaitPolicy& policy, const Deadline& deadline, Interrupt& interrupt) {
  if (word.load(std::memory_order_acquire) == value) return;
  if (!policy.crowded && spin(word, value, policy.spin, deadline.carries())) return;
  struct Asleep {
    std::atomic<std::uint32_t>& count;
    explicit Asleep(std::atomic<std::uint32_t>& c) : count(c) { count.fetch_add(1, std::memory_order_seq_cst); }
    ~Asleep() { count.fetch_sub(1, std::memory_order_seq_cst); }
  } asleep(waiters);
  const double limit = deadline.carries() ? kLongCarry : kSlice;
  double pause = deadline.carries() ? kShortCarry : kSlice, looked = monotonic_seconds();
  for (std::uint32_t seen; (seen = word.load(std::memory_order_seq_cst)) != value;) {
    const double remaining = deadline.remaining();
    futex_wait(word, seen, std::min(std::max(remaining, 1e-4), pause));
    if (word.load(std::memory_order_seq_cst) == value) return;
    pause = std::min(2 * pause, limit);
    if (deadline.carries()) {
      deadline.carry();
      const double now = monotonic_seconds();
      if (remaining > 0 && now - looked < kSlice) continue;
      looked = now;
    }
    interrupt.check();
  }
}

}  // namespace pyccl::shm
