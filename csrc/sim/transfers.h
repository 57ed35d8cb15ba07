// Messages on a shared network: when their bytes have left, and when the last of them arrives.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "sim/heap.h"
#include "sim/network.h"

namespace pyccl::sim {

/// The event of a message whose bytes have left is of kind `kDrained`, whose it is, and a version: it may be outdated.
class Transfers {
 public:
  Transfers(std::vector<double> capacity, int messages, unsigned drained)
      : network_(std::move(capacity), messages), drained_(drained), transfers_(static_cast<std::size_t>(messages)) {}

  /// From now on there may be so many messages.
  void allow(int messages) {
    network_.allow(messages);
    transfers_.resize(static_cast<std::size_t>(messages));
  }

  void start(int message, std::span<const int> links, double bytes, double limit, double latency, double now) {
    Transfer& t = transfers_[message];
    t = {now, bytes, latency, 0, t.version};
    network_.start(message, links, bytes, limit, now);
  }

  bool changed() const { return network_.changed(); }
  std::int64_t rates_found() const { return network_.found(); }

  void settle(double now, Heap& heap) {
    network_.settle(now, [&](int message, double end) {
      Transfer& t = transfers_[message];
      ++t.rates;
      heap.push(Event::make(end, drained_, static_cast<std::uint32_t>(message), ++t.version));
    });
  }

  /// When the message arrives, unless the event is outdated. Where the rate was always the same, the sum is that of an
  /// empty network, to the last bit, so that ties stay ties.
  std::optional<double> drained(const Event& event) {
    const int message = static_cast<int>(event.who());
    const Transfer& t = transfers_[message];
    if (t.version != event.version()) return std::nullopt;
    network_.stop(message);
    if (t.rates > 1) return event.time + t.latency;
    return t.started + (t.latency + t.bytes / network_.rate(message));
  }

 private:
  struct Transfer {
    double started, bytes, latency;
    int rates;  // that it has had
    std::uint32_t version;
  };

  Network network_;
  const unsigned drained_;
  std::vector<Transfer> transfers_;
};

}  // namespace pyccl::sim
