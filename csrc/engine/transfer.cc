#include "engine/transfer.h"

#include "engine/fingerprint.h"

namespace pyccl {

Envelope Envelope::of(const MessageCall& message, std::uint32_t sequence) {
  Envelope e;
  e.count = message.count;
  e.bytes = message.count * static_cast<std::int64_t>(item_size(message.dtype));
  e.tag = message.tag;
  e.sequence = sequence;
  e.dtype = static_cast<std::uint8_t>(message.dtype);
  return e;
}

std::string describe(const Envelope& e, bool sends, int peer) {
  return std::string(sends ? "send(dest=" : "recv(source=") + std::to_string(peer) + ", tag=" + std::to_string(e.tag) +
         ", dtype=" + name(static_cast<DataType>(e.dtype)) + ", count=" + std::to_string(e.count) + ") #" +
         std::to_string(e.sequence);
}

void Transfer::refuse(const Envelope& other) {
  const int sender = message_.sends ? rank_ : message_.peer, receiver = message_.sends ? message_.peer : rank_;
  const Envelope& sent = message_.sends ? envelope_ : other;
  const Envelope& expected = message_.sends ? other : envelope_;
  mismatch_ = "ranks disagree: rank " + std::to_string(sender) + " calls " + pyccl::describe(sent, true, receiver) +
              ", rank " + std::to_string(receiver) + " calls " + pyccl::describe(expected, false, sender);
  done_ = true;
}

}  // namespace pyccl
