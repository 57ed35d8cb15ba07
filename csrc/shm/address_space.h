// What the kernel says of this process's memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pyccl::shm {

/// A part of one mapping and the advice of madvise that it has.
struct Extent {
  char* begin;
  char* end;
  std::vector<int> advice;
};

/// The mappings of [begin, end), whole pages. Throws std::invalid_argument with the reason unless all of it is
/// ordinary private memory: readable, writable, anonymous, not locked, on no stack, claimed by no device.
std::vector<Extent> private_extents(char* begin, char* end);

}  // namespace pyccl::shm
