// What a row holds before its first update: a pure function of seed, table and id, so that everybody makes the same
// row.
#pragma once

#include <cstdint>

namespace pyccl::server {

/// Bits do not depend on the machine: only operations that IEEE 754 defines exactly.
struct Initializer {
  enum class Kind : std::uint8_t { Constant, Uniform, Normal };
  static constexpr int kKinds = 3;

  Kind kind = Kind::Constant;
  float a = 0, b = 0;  // the value; from a to b; mean and standard deviation
  std::uint64_t seed = 0;

  /// Writes the row of `id`; -1 is a table's shared row.
  void fill(std::uint64_t table, std::int64_t id, float* row, std::int64_t dim) const;
};

}  // namespace pyccl::server
