// A queue of records in shared memory: one writer, one reader, in order.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <new>

#include "server/record.h"

namespace pyccl::server {

inline constexpr std::int64_t kRingBytes = 512 << 10;

/// What the writer has published stays as it is until the reader has done with it: whoever finds the reader dead can
/// send the rest to somebody else.
struct alignas(64) Ring {
  std::atomic<std::uint64_t> head;              // bytes published
  alignas(64) std::atomic<std::uint64_t> tail;  // bytes of records that are done, on all replicas
  alignas(64) char data[kRingBytes];

  Record& at(std::uint64_t position) { return *reinterpret_cast<Record*>(data + position % kRingBytes); }
};

/// The writer's end.
class Writer {
 public:
  explicit Writer(Ring& ring) : ring_(&ring) {}

  /// Room for a record of that many bytes, zeroed but for the payload; null if there is none now.
  Record* reserve(std::uint32_t bytes) {
    const std::uint64_t end = head_ % kRingBytes + bytes, skip = end > kRingBytes ? kRingBytes - head_ % kRingBytes : 0;
    if (head_ + skip + bytes - reaped_ > kRingBytes) return nullptr;
    if (skip > 0) {
      Record& filler = *new (&ring_->at(head_)) Record;
      filler.bytes = static_cast<std::uint32_t>(skip);
      head_ += skip;
    }
    Record& record = *new (&ring_->at(head_)) Record;
    record.bytes = bytes;
    return &record;
  }
  /// The reserved record is complete.
  void publish(const Record& record) {
    head_ += record.bytes;
    ring_->head.store(head_, std::memory_order_seq_cst);
  }
  /// The oldest record that is done and has not been reaped; null if there is none. Its bytes are used again after the
  /// next call.
  Record* reap() { return oldest(idle() ? next_ : ring_->tail.load(std::memory_order_acquire)); }
  /// The same for records that the reader will never do.
  Record* salvage() { return oldest(head_); }
  bool idle() const { return next_ == head_; }

 private:
  Record* oldest(std::uint64_t end) {
    reaped_ = next_;
    while (next_ < end) {
      Record& record = ring_->at(next_);
      next_ += record.bytes;
      if (record.kind != Kind::Filler) return &record;
      reaped_ = next_;
    }
    return nullptr;
  }

  Ring* ring_;
  std::uint64_t head_ = 0, next_ = 0, reaped_ = 0;
};

/// The reader's end. A record is taken, and done some time later: when its replicas have it.
class Reader {
 public:
  explicit Reader(Ring& ring) : ring_(&ring) {}

  /// The next record that has not been taken; null if there is none. Checks what it finds: a record that cannot be one
  /// is a std::runtime_error.
  Record* peek();
  /// Takes the record that `peek` returned; it is done when change `log` of `shard` is everywhere.
  void take(int shard, std::uint64_t log);
  /// Marks as done what is: `safe(shard)` is the last change that is everywhere. True if there was anything.
  template <class Safe> bool settle(Safe&& safe) {
    std::uint64_t end = 0;
    for (; !taken_.empty() && taken_.front().log <= safe(taken_.front().shard); taken_.pop_front()) {
      end = taken_.front().end;
    }
    if (end == 0) return false;
    ring_->tail.store(end, std::memory_order_seq_cst);
    return true;
  }
  bool empty() { return peek() == nullptr; }

 private:
  struct Taken {
    std::uint64_t end, log;
    int shard;
  };
  Ring* ring_;
  std::uint64_t next_ = 0;
  std::deque<Taken> taken_;
};

}  // namespace pyccl::server
