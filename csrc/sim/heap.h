// The event queue: a 4-ary implicit heap of 16-byte keys. Payloads lie in arrays, found by the key.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace pyccl::sim {

/// When, and what: events of one time come in the order of their kind, then of the one whom they concern.
struct Event {
  double time;
  std::uint64_t tie;

  static Event make(double time, unsigned kind, std::uint32_t who, std::uint32_t version = 0) {
    return {time, (std::uint64_t{kind} << 60) | (std::uint64_t{who} << 32) | version};
  }
  unsigned kind() const { return static_cast<unsigned>(tie >> 60); }
  std::uint32_t who() const { return static_cast<std::uint32_t>(tie >> 32) & 0x0fffffffU; }
  std::uint32_t version() const { return static_cast<std::uint32_t>(tie); }
  bool operator<(const Event& other) const { return time != other.time ? time < other.time : tie < other.tie; }
};

class Heap {
 public:
  bool empty() const { return events_.empty(); }
  const Event& top() const { return events_.front(); }

  void push(Event event) {
    std::size_t at = events_.size();
    events_.push_back(event);
    while (at > 0) {
      const std::size_t parent = (at - 1) / kArity;
      if (!(event < events_[parent])) break;
      events_[at] = events_[parent];
      at = parent;
    }
    events_[at] = event;
  }

  Event pop() {
    const Event first = events_.front(), last = events_.back();
    events_.pop_back();
    const std::size_t n = events_.size();
    if (n == 0) return first;
    std::size_t at = 0;
    for (std::size_t child = 1; child < n; child = kArity * at + 1) {
      const std::size_t end = child + kArity < n ? child + kArity : n;
      std::size_t least = child;
      for (std::size_t i = child + 1; i < end; ++i) least = events_[i] < events_[least] ? i : least;
      if (!(events_[least] < last)) break;
      events_[at] = events_[least];
      at = least;
    }
    events_[at] = last;
    return first;
  }

 private:
  static constexpr std::size_t kArity = 4;
  std::vector<Event> events_;
};

}  // namespace pyccl::sim
