// A clock that is cheap enough to read twice per operation.
#pragma once

#include <cstdint>

namespace pyccl {

/// Counts up at a constant rate that is only known by comparing it with another clock.
#ifdef __x86_64__
extern const bool kConstantRate;  // of the time stamp counter
std::int64_t slow_ticks();
inline std::int64_t ticks() { return kConstantRate ? static_cast<std::int64_t>(__builtin_ia32_rdtsc()) : slow_ticks(); }
#else
std::int64_t ticks();
#endif

}  // namespace pyccl
