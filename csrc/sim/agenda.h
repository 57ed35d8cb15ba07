// When each of a fixed set next does something: a 4-ary heap in which everyone has at most one place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace pyccl::sim {

class Agenda {
 public:
  explicit Agenda(std::size_t members) : place_(members, kNowhere) {}

  bool empty() const { return heap_.empty(); }
  /// The earliest; of those the lowest.
  std::uint32_t who() const { return heap_.front().who; }
  double time() const { return heap_.empty() ? std::numeric_limits<double>::infinity() : heap_.front().time; }

  void set(std::uint32_t who, double time) {
    std::size_t at = place_[who];
    if (at == kNowhere) {
      at = heap_.size();
      heap_.push_back({time, who});
    }
    settle(at, {time, who});
  }
  void erase(std::uint32_t who) {
    const std::size_t at = place_[who];
    if (at == kNowhere) return;
    place_[who] = kNowhere;
    const Entry last = heap_.back();
    heap_.pop_back();
    if (at < heap_.size()) settle(at, last);
  }

 private:
  static constexpr std::size_t kArity = 4, kNowhere = std::numeric_limits<std::size_t>::max();
  struct Entry {
    double time;
    std::uint32_t who;
    bool operator<(const Entry& other) const { return time != other.time ? time < other.time : who < other.who; }
  };

  void put(std::size_t at, Entry entry) {
    heap_[at] = entry;
    place_[entry.who] = at;
  }
  /// Finds the place of `entry`, from the free place `at` on.
  void settle(std::size_t at, Entry entry) {
    for (std::size_t parent = (at - 1) / kArity; at > 0 && entry < heap_[parent]; parent = (at - 1) / kArity) {
      put(at, heap_[parent]);
      at = parent;
    }
    for (std::size_t child = kArity * at + 1; child < heap_.size(); child = kArity * at + 1) {
      const std::size_t end = child + kArity < heap_.size() ? child + kArity : heap_.size();
      std::size_t least = child;
      for (std::size_t i = child + 1; i < end; ++i) least = heap_[i] < heap_[least] ? i : least;
      if (!(heap_[least] < entry)) break;
      put(at, heap_[least]);
      at = least;
    }
    put(at, entry);
  }

  std::vector<Entry> heap_;
  std::vector<std::size_t> place_;
};

}  // namespace pyccl::sim
