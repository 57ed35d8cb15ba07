// Lists of row ids that both ends of a way between two nodes know, so that a list that comes again is one number.
#pragma once

#include <cstdint>
#include <cstring>
#include <deque>
#include <unordered_map>
#include <vector>

#include "server/hash.h"

namespace pyccl::server {

/// The sender and the receiver add the same lists in the same order, so the same numbers mean the same to both, and the
/// same lists are forgotten, the oldest first. Lists are compared, not only their hashes.
///
/// Key caching: M. Li et al., Scaling Distributed Machine Learning with the Parameter Server, OSDI 2014
/// (https://dl.acm.org/doi/10.5555/2685048.2685095).
class KeyCache {
 public:
  static constexpr std::int64_t kMostBytes = 512 << 10, kLeastBytes = 64;

  /// Whether a list is kept at all: a very short one costs no more than its number, and a very long one all the room.
  static bool keeps(std::int64_t bytes) { return bytes >= kLeastBytes && bytes <= kMostBytes / 4; }

  /// The number of that list, from 1; 0 if it is not known.
  std::uint64_t find(const char* ids, std::int64_t bytes) const {
    if (!keeps(bytes)) return 0;
    const auto found = numbers_.find(hash(ids, bytes));
    if (found == numbers_.end()) return 0;
    const std::vector<char>* list = at(found->second);
    const bool same = list != nullptr && std::ssize(*list) == bytes &&
                      std::memcmp(list->data(), ids, static_cast<std::size_t>(bytes)) == 0;
    return same ? found->second : 0;
  }
  /// Null if it is not known, or no longer.
  const std::vector<char>* at(std::uint64_t number) const {
    return number < first_ || number - first_ >= lists_.size() ? nullptr : &lists_[number - first_];
  }
  void add(const char* ids, std::int64_t bytes) {
    if (!keeps(bytes)) return;
    lists_.emplace_back(ids, ids + bytes);
    numbers_[hash(ids, bytes)] = first_ + lists_.size() - 1;
    for (bytes_ += bytes; bytes_ > kMostBytes; ++first_, lists_.pop_front()) forget(lists_.front());
  }

 private:
  static std::uint64_t hash(const char* ids, std::int64_t bytes) {
    std::uint64_t hash = static_cast<std::uint64_t>(bytes), id = 0;
    for (std::int64_t i = 0; i < bytes; i += 8) {
      std::memcpy(&id, ids + i, sizeof id);
      hash = mix(hash ^ id) + id;
    }
    return hash;
  }
  void forget(const std::vector<char>& list) {
    bytes_ -= std::ssize(list);
    const auto found = numbers_.find(hash(list.data(), std::ssize(list)));
    if (found != numbers_.end() && found->second == first_) numbers_.erase(found);
  }

  std::deque<std::vector<char>> lists_;
  std::unordered_map<std::uint64_t, std::uint64_t> numbers_;  // by hash, of the last list that has it
  std::uint64_t first_ = 1;                                   // number of the oldest list
  std::int64_t bytes_ = 0;
};

}  // namespace pyccl::server
