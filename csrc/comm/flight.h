// What a communicator did last: a ring of fixed size, written on every operation, read when something is wrong.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "comm/call.h"
#include "engine/fingerprint.h"
#include "engine/transfer.h"

namespace pyccl {

enum class FlightState : std::uint8_t { Queued, Running, Done, Failed };

/// Kinds beside those of fingerprints.
inline constexpr std::uint8_t kSend = 0x80, kReceive = 0x81;
inline constexpr std::uint8_t kNoAlgorithm = 0xff;

/// An operation as its caller sees it.
struct FlightEntry {
  std::uint8_t kind = kAborted;
  std::uint8_t op = 0;
  std::uint8_t dtype = 0;
  std::uint8_t algorithm = kNoAlgorithm;
  std::int32_t peer = -1;  // root, or the other end of a message
  std::int32_t tag = 0;
  std::int64_t count = 0;  // elements of the large side; bytes of comm.empty()

  static FlightEntry of(const Call& call, int size);
  static FlightEntry of(const MessageCall& message);
};

/// One operation as it is read; times are seconds of CLOCK_MONOTONIC, negative when there is none.
struct FlightRecord {
  std::uint64_t number;  // of the operation in this communicator, from 1
  FlightEntry entry;
  std::uint32_t sequence;  // among the collectives, or the messages of the pair; 0 while queued
  FlightState state;
  std::int32_t place;  // where the user called it, an index that the owner of the ring gives out; 0: not known
  double queued, start, end;
  std::string error;  // of one that has failed, as far as it is still known
};

/// Any thread may write and read, but one at a time opens: the GIL sees to it, since an atomic counter would double the
/// price. Writing is a dozen plain stores to one cache line and a look at the clock; a record that is overwritten while
/// it is read is left out.
class Flight {
 public:
  static constexpr std::size_t kCapacity = 256;
  explicit Flight(std::size_t capacity = kCapacity) { reset(capacity); }
  /// Starts anew; before the first operation.
  void reset(std::size_t capacity);

  /// A new operation, queued or running at once; returns its number.
  std::uint64_t open(const FlightEntry& entry, FlightState state, std::int32_t place = 0);
  void begin(std::uint64_t number, std::uint32_t sequence);
  /// The first end stays.
  void land(std::uint64_t number);
  void fail(std::uint64_t number, std::string why);
  void set_place(std::uint64_t number, std::int32_t place);
  std::int32_t place(std::uint64_t number) const;

  /// Oldest first.
  std::vector<FlightRecord> read() const;
  std::uint64_t written() const { return next_.load(std::memory_order_relaxed); }
  std::size_t capacity() const { return mask_ + 1; }

 private:
  struct alignas(64) Slot {
    std::atomic<std::uint64_t> number{0};
    std::atomic<std::int64_t> queued{0}, start{0}, end{0};  // ticks
    std::atomic<std::int64_t> count{0};
    std::atomic<std::uint64_t> what{0};  // kind, op, dtype, algorithm, and the peer above them
    std::atomic<std::uint32_t> sequence{0};
    std::atomic<std::int32_t> tag{0};
    std::atomic<std::uint32_t> state{0};
    std::atomic<std::int32_t> place{0};
  };
  static_assert(sizeof(Slot) == 64);

  static constexpr std::size_t kErrors = 64;
  bool end(std::uint64_t number, FlightState state);
  std::string error(std::uint64_t number) const;
  /// Null once the ring has come round.
  Slot* find(std::uint64_t number) const {
    Slot& slot = slots_[number & mask_];
    return slot.number.load(std::memory_order_relaxed) == number ? &slot : nullptr;
  }

  std::size_t mask_ = 0;
  std::unique_ptr<Slot[]> slots_;
  std::atomic<std::uint64_t> next_{0};
  double since_ = 0;  // both clocks at one instant
  std::int64_t since_ticks_ = 0;
  mutable std::mutex failing_;
  std::deque<std::pair<std::uint64_t, std::string>> errors_;  // by number, the last kErrors
};

}  // namespace pyccl
