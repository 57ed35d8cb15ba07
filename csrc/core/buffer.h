// Chunk bounds: the only splitter on the C++ side (pyccl.schedule.chunk_range is its Python twin).
#pragma once

#include <cstdint>

namespace pyccl {

struct Range { std::int64_t begin, end; };

/// Chunk `chunk` of `count` elements in `nchunks`: sizes differ by at most one, the larger chunks come first.
inline Range chunk_range(std::int64_t count, int nchunks, int chunk) {
  const std::int64_t base = count / nchunks, extra = count % nchunks;
  const std::int64_t begin = chunk * base + (chunk < extra ? chunk : extra);
  return {begin, begin + base + (chunk < extra ? 1 : 0)};
}

inline std::int64_t round_up(std::int64_t value, std::int64_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace pyccl
