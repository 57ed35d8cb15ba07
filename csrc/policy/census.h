// How many workers stand at each of a range of numbers; the least of them in O(1).
#pragma once

#include <cstdint>
#include <vector>

#include "core/bytes.h"

namespace pyccl::policy {

/// Nobody ever enters below the least, unless nobody is left.
class Census {
 public:
  bool empty() const { return total_ == 0; }
  std::int64_t total() const { return total_; }
  /// Of those who stand somewhere.
  std::int64_t least() const { return base_; }

  void enter(std::int64_t number) {
    if (total_++ == 0) {
      counts_.clear();
      first_ = 0;
      base_ = number;
    }
    const std::size_t place = first_ + static_cast<std::size_t>(number - base_);
    if (place >= counts_.size()) counts_.resize(place + 1);
    ++counts_[place];
  }
  void leave(std::int64_t number) {
    --counts_[first_ + static_cast<std::size_t>(number - base_)];
    if (--total_ == 0) return;
    for (; counts_[first_] == 0; ++base_) ++first_;
    if (2 * first_ < counts_.size()) return;
    counts_.erase(counts_.begin(), counts_.begin() + static_cast<std::ptrdiff_t>(first_));
    first_ = 0;
  }

  void save(BytesOut& out) const {
    out.put(counts_);
    out.put(first_);
    out.put(base_);
    out.put(total_);
  }
  void restore(BytesIn& in) {
    in.get(counts_);
    in.get(first_);
    in.get(base_);
    in.get(total_);
  }

 private:
  std::vector<std::int64_t> counts_;  // from first_ on, which stands for base_
  std::size_t first_ = 0;
  std::int64_t base_ = 0, total_ = 0;
};

}  // namespace pyccl::policy
