// The rows of a sparse table: slabs of headers and records. A row keeps its slot, and its address, as long as it lives.
#pragma once

#include <cstdint>
#include <vector>

#include "server/pages.h"

namespace pyccl::server {

struct Header {
  std::int64_t id;        // below 0: the slot is free, and -1 - id the free one after it, plus one
  std::uint32_t version;  // updates, up to 2^32 - 1
  std::uint32_t touch;    // the table's time at the last one
};

class RowStore {
 public:
  static constexpr std::uint32_t kNone = UINT32_MAX;

  /// Records of `floats` float32 each.
  explicit RowStore(std::int64_t floats) : floats_(floats) {
    while (shift_ < kMostShift && (slab_bytes(shift_ + 1) <= kSlabBytes)) ++shift_;
    mask_ = (1U << shift_) - 1;
  }

  Header& header(std::uint32_t slot) const { return slabs_[slot >> shift_].at<Header>(0)[slot & mask_]; }
  float* record(std::uint32_t slot) const {
    return slabs_[slot >> shift_].at<float>(header_bytes(shift_)) + static_cast<std::int64_t>(slot & mask_) * floats_;
  }

  /// A slot; what its header and record hold is undefined.
  std::uint32_t allocate() {
    std::uint32_t slot = used_;
    if (free_ != 0) {
      slot = free_ - 1;
      free_ = static_cast<std::uint32_t>(-1 - header(slot).id);
    } else {
      if (used_ == kNone) throw std::bad_alloc();
      // Small tables are many; huge pages are for those that fill a slab.
      if ((used_ & mask_) == 0) slabs_.emplace_back(slab_bytes(shift_), !slabs_.empty());
      ++used_;
    }
    ++rows_;
    return slot;
  }
  void release(std::uint32_t slot) {
    header(slot).id = -1 - static_cast<std::int64_t>(free_);
    free_ = slot + 1;
    --rows_;
  }

  std::int64_t rows() const { return rows_; }
  /// Slots from here on have never held a row.
  std::uint32_t end() const { return used_; }
  std::int64_t floats() const { return floats_; }
  /// Of all slots that have been used.
  std::int64_t bytes() const {
    return used_ * (static_cast<std::int64_t>(sizeof(Header)) + floats_ * static_cast<std::int64_t>(sizeof(float)));
  }

 private:
  static constexpr std::size_t kSlabBytes = 32 << 20;
  static constexpr int kMostShift = 20;

  std::size_t header_bytes(int shift) const { return ((sizeof(Header) << shift) + 63) / 64 * 64; }
  std::size_t slab_bytes(int shift) const {
    return header_bytes(shift) + (static_cast<std::size_t>(floats_) * sizeof(float) << shift);
  }

  std::int64_t floats_;
  int shift_ = 0;
  std::uint32_t mask_, used_ = 0, free_ = 0;  // free_: the first free slot, plus one
  std::int64_t rows_ = 0;
  std::vector<Pages> slabs_;
};

inline void prefetch(const void* begin, std::int64_t bytes) {
  const char* at = static_cast<const char*>(begin);
  for (std::int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(at + i);
}

}  // namespace pyccl::server
