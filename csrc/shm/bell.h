// Where a rank sleeps when any of several things may be the next to happen.
#pragma once

#include <atomic>
#include <cstdint>

#include "shm/wait.h"

namespace pyccl::shm {

struct alignas(64) Bell {
  std::atomic<std::uint32_t> rings;   // a futex word, written by all ranks
  std::atomic<std::uint32_t> asleep;  // written by its owner
};

/// Wakes `bell`'s owner if it sleeps. Call after a sequentially consistent store: either this sees the sleeper, or the
/// sleeper's last look sees the store.
inline void ring(Bell& bell) {
  if (bell.asleep.load(std::memory_order_seq_cst) == 0) return;
  bell.rings.fetch_add(1, std::memory_order_seq_cst);
  futex_wake_all(bell.rings);
}

/// Sleeps until the bell rings, at most `seconds`, unless `ready()` once everybody can see the sleeper.
template <class Ready> void sleep(Bell& bell, double seconds, Ready&& ready) {
  const std::uint32_t seen = bell.rings.load(std::memory_order_seq_cst);
  bell.asleep.store(1, std::memory_order_seq_cst);
  if (!ready()) futex_wait(bell.rings, seen, seconds);
  bell.asleep.store(0, std::memory_order_seq_cst);
}

}  // namespace pyccl::shm
