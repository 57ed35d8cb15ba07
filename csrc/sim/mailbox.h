// Messages and receives of a rank that takes messages from any rank, or with any tag.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <utility>

namespace pyccl::sim {

/// What has come is matched in the order in which it came, receives in the order in which they were posted.
class Mailbox {
 public:
  static constexpr int kAny = -1, kNone = -1;

  /// A receive; returns whether a message was there for it.
  bool post(int source, int tag, int receive) {
    if (take({source, tag})) return true;
    receives_[{source, tag}].push_back({sequence_++, receive});
    return false;
  }

  /// A message; returns the receive that takes it, or kNone.
  int arrive(int source, int tag) {
    std::deque<Entry>* first = nullptr;
    for (const Key& key : keys(source, tag)) {
      const auto found = receives_.find(key);
      if (found == receives_.end() || found->second.empty()) continue;
      if (!first || found->second.front().order < first->front().order) first = &found->second;
    }
    if (first) {
      const int receive = first->front().who;
      first->pop_front();
      return receive;
    }
    for (const Key& key : keys(source, tag)) messages_[key].push_back(sequence_);
    ++sequence_;
    return kNone;
  }

 private:
  using Key = std::pair<int, int>;
  struct Entry {
    std::int64_t order;
    int who;
  };

  static std::array<Key, 4> keys(int source, int tag) {
    return {Key{source, tag}, Key{source, kAny}, Key{kAny, tag}, Key{kAny, kAny}};
  }

  /// A message stands in four queues; those that others have taken it from hold it until they come to it.
  bool take(const Key& key) {
    const auto found = messages_.find(key);
    if (found == messages_.end()) return false;
    auto& queue = found->second;
    while (!queue.empty()) {
      const std::int64_t first = queue.front();
      queue.pop_front();
      const auto [known, fresh] = taken_.try_emplace(first, 3);
      if (fresh) return true;
      if (--known->second == 0) taken_.erase(known);
    }
    return false;
  }

  std::map<Key, std::deque<Entry>> receives_;
  std::map<Key, std::deque<std::int64_t>> messages_;
  std::map<std::int64_t, int> taken_;  // in how many queues a message that was taken still stands
  std::int64_t sequence_ = 0;
};

}  // namespace pyccl::sim
