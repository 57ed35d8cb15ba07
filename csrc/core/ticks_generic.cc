// Nanoseconds of CLOCK_MONOTONIC.
#include <time.h>

#include "core/ticks.h"

namespace pyccl {

std::int64_t ticks() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::int64_t>(t.tv_sec) * 1000000000 + t.tv_nsec;
}

}  // namespace pyccl
