#include "shm/mailbox.h"

#include <algorithm>
#include <cstring>

#include "kernels/kernels.h"

namespace pyccl::shm {
namespace {

std::uint32_t count_pieces(const Envelope& envelope) {
  if (envelope.bytes <= kSmallMessage) return 0;
  return static_cast<std::uint32_t>((envelope.bytes + kPiece - 1) / kPiece);
}

std::size_t piece_bytes(const Envelope& envelope, std::uint32_t piece) {
  return static_cast<std::size_t>(std::min(kPiece, envelope.bytes - piece * kPiece));
}

std::uint64_t word(std::uint32_t sequence, std::uint32_t low) { return (std::uint64_t{sequence} << 32) | low; }
std::uint32_t sequence_of(std::uint64_t progress) { return static_cast<std::uint32_t>(progress >> 32); }

/// From here on a message would only push other things out of the caches.
constexpr std::int64_t kStreamed = 32 << 20;

/// memcpy's pointers must be valid even for no bytes, and an empty array may have none.
void copy(char* to, const char* from, std::size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);
}

}  // namespace

MailboxSend::MailboxSend(const MessageCall& message, int rank, std::uint32_t sequence, const Node& node)
    : Transfer(message, rank, sequence), box_(node.mailbox(rank, message.peer)), bell_(node.bell(message.peer)),
      pieces_(count_pieces(envelope_)) {}

/// One more piece; for the first one the receiver has finished with all earlier messages, or we were not driven.
bool MailboxSend::publish() {
  const char* data = static_cast<const char*>(message_.data);
  if (!started_) box_.send.envelope = envelope_;
  if (pieces_ == 0) {
    copy(box_.send.small, data, static_cast<std::size_t>(envelope_.bytes));
  } else {
    copy(box_.pieces[published_ & 1], data + published_ * kPiece, piece_bytes(envelope_, published_));
    ++published_;
  }
  started_ = true;
  box_.send.progress.store(word(envelope_.sequence, published_ + 1), std::memory_order_seq_cst);
  ring(bell_);
  return true;
}

bool MailboxSend::advance() {
  if (done()) return false;
  if (!started_) return publish();
  const std::uint64_t progress = box_.receive.progress.load(std::memory_order_seq_cst);
  std::uint32_t consumed = 0;
  if (sequence_of(progress) == envelope_.sequence) {
    const auto low = static_cast<std::uint32_t>(progress);
    if (low == kRefused) {
      refuse(box_.receive.envelope);
      return true;
    }
    consumed = low - 1;
    if (consumed == pieces_) {
      finish();
      return true;
    }
  }
  return published_ < pieces_ && published_ - consumed < 2 && publish();
}

MailboxReceive::MailboxReceive(const MessageCall& message, int rank, std::uint32_t sequence, const Node& node)
    : Transfer(message, rank, sequence), box_(node.mailbox(message.peer, rank)), bell_(node.bell(message.peer)),
      pieces_(count_pieces(envelope_)) {}

void MailboxReceive::answer(std::uint32_t low) {
  box_.receive.progress.store(word(envelope_.sequence, low), std::memory_order_seq_cst);
  ring(bell_);
}

bool MailboxReceive::advance() {
  if (done()) return false;
  const std::uint64_t progress = box_.send.progress.load(std::memory_order_seq_cst);
  if (sequence_of(progress) != envelope_.sequence) return false;
  if (!accepted_) {
    const Envelope sent = box_.send.envelope;
    if (!envelope_.fits(sent)) {
      box_.receive.envelope = envelope_;
      answer(kRefused);
      refuse(sent);
      return true;
    }
    accepted_ = true;
  }
  char* data = static_cast<char*>(message_.data);
  if (pieces_ == 0) {
    copy(data, box_.send.small, static_cast<std::size_t>(envelope_.bytes));
    answer(1);
    finish();
    return true;
  }
  if (consumed_ == static_cast<std::uint32_t>(progress) - 1) return false;
  kernels::copy(data + consumed_ * kPiece, box_.pieces[consumed_ & 1], piece_bytes(envelope_, consumed_),
                envelope_.bytes >= kStreamed);
  ++consumed_;
  answer(consumed_ + 1);
  if (consumed_ == pieces_) finish();
  return true;
}

}  // namespace pyccl::shm
