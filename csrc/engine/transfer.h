// One point-to-point message under way: a state machine that somebody else drives, whatever carries it.
#pragma once

#include <cstdint>
#include <string>

#include "core/types.h"

namespace pyccl {

/// What a user asks for: one side of a message.
struct MessageCall {
  bool sends = false;
  int peer = 0;
  std::int32_t tag = 0;
  DataType dtype = DataType::U8;
  std::int64_t count = 0;
  void* data = nullptr;      // only read by a sender
  double timeout = -1;       // seconds, < 0: the communicator's
  std::uint64_t ticket = 0;  // its number in the communicator's record
};

/// Travels ahead of the data, and back when the receiver expected something else. Plain bytes.
struct Envelope {
  std::int64_t count = 0;
  std::int64_t bytes = 0;
  std::int32_t tag = 0;
  std::uint32_t sequence = 0;  // of the messages from this sender to this receiver
  std::uint8_t dtype = 0;
  std::uint8_t unused[7] = {};

  static Envelope of(const MessageCall& message, std::uint32_t sequence);
  bool fits(const Envelope& other) const {
    return count == other.count && tag == other.tag && sequence == other.sequence && dtype == other.dtype;
  }
};
static_assert(sizeof(Envelope) == 32);

/// "send(dest=1, tag=0, float32, count=10) #3", as `rank` would call it.
std::string describe(const Envelope& envelope, bool sends, int peer);

/// Messages between a pair of ranks match in order, so at most one transfer per direction and peer may be driven.
class Transfer {
 public:
  Transfer(const MessageCall& message, int rank, std::uint32_t sequence)
      : message_(message), envelope_(Envelope::of(message, sequence)), rank_(rank) {}
  virtual ~Transfer() = default;
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  /// Does what can be done without waiting; true if anything was.
  virtual bool advance() = 0;
  bool done() const { return done_; }
  /// Why nothing was moved; empty when all is well. The same text on both sides.
  const std::string& mismatch() const { return mismatch_; }

  const MessageCall& message() const { return message_; }
  int peer() const { return message_.peer; }
  std::string describe() const { return pyccl::describe(envelope_, message_.sends, message_.peer); }

 protected:
  void finish() { done_ = true; }
  void refuse(const Envelope& other);

  const MessageCall message_;
  const Envelope envelope_;

 private:
  const int rank_;
  bool done_ = false;
  std::string mismatch_;
};

}  // namespace pyccl
