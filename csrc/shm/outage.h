// Why a communicator no longer works: written once, by whoever notices first, and read by every rank of the node.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace pyccl::shm {

enum class Broken : std::int32_t { None, Timeout, PeerLost, Error, Aborted, Interrupted };

/// What became of a rank.
enum class Fate : std::uint8_t { Alive, Left, Lost };

/// The same, as plain bytes: it travels between nodes.
struct Cause {
  static constexpr int kNamed = 16;
  static constexpr int kText = 512;
  Broken kind = Broken::None;
  std::int32_t count = 0;           // of `ranks`
  std::int32_t ranks[kNamed] = {};  // missing, lost, or the one that gave up
  char text[kText] = {};            // the whole message; of Aborted and Interrupted the reason alone

  static Cause of(Broken kind, const std::vector<int>& ranks, const std::string& text);
  std::vector<int> named() const;
  std::string reason() const;
};

struct alignas(64) Outage {
  /// False if there was a reason already: the first one stays.
  bool set(const Cause& why);
  bool broken() const { return state.load(std::memory_order_acquire) != 0; }
  Cause get() const;
  /// Throws the error that this is, for a rank that has not raised it yet.
  [[noreturn]] void raise() const;

  std::atomic<std::uint32_t> state;  // 0, or 1 while the cause is written, or 2
  Cause cause;
};
static_assert(sizeof(Outage) == 640);

}  // namespace pyccl::shm
