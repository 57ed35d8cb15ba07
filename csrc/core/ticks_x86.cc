// The time stamp counter, where it runs at a constant rate: less than half the price of clock_gettime.
#include <cpuid.h>
#include <time.h>

#include "core/ticks.h"

namespace pyccl {
namespace {

bool has_constant_rate() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(0x80000007, &a, &b, &c, &d) != 0 && (d & (1U << 8)) != 0;
}

}  // namespace

const bool kConstantRate = has_constant_rate();

std::int64_t slow_ticks() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::int64_t>(t.tv_sec) * 1000000000 + t.tv_nsec;
}

}  // namespace pyccl
