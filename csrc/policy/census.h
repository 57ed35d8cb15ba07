// How many workers stand at each of a range of numbers; the least of them in O(1).
#pragma once

#include <cstdint>
#include <deque>

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
      base_ = number;
    }
    const auto place = static_cast<std::size_t>(number - base_);
    if (place >= counts_.size()) counts_.resize(place + 1);
    ++counts_[place];
  }
  void leave(std::int64_t number) {
    --counts_[static_cast<std::size_t>(number - base_)];
    if (--total_ == 0) return;
    for (; counts_.front() == 0; ++base_) counts_.pop_front();
  }

 private:
  std::deque<std::int64_t> counts_;
  std::int64_t base_ = 0, total_ = 0;
};

}  // namespace pyccl::policy
