// A clock that is cheap enough to read twice per operation.
#pragma once

#include <cstdint>

namespace pyccl {

/// Counts up at a constant rate that is only known by comparing it with another clock.
std::int64_t ticks();

}  // namespace pyccl
