// The bytes that the ranks of a node share. Every line has one writer unless its comment says otherwise.
#pragma once

#include <atomic>
#include <cstdint>

#include "engine/fingerprint.h"
#include "engine/transfer.h"
#include "engine/transport.h"
#include "shm/bell.h"
#include "shm/outage.h"

namespace pyccl::shm {

inline constexpr std::uint64_t kMagic = 0x70796363'6c73686dULL;  // "pycclshm"
inline constexpr std::uint32_t kVersion = 4;
inline constexpr std::int64_t kStagingHalf = kStagingBytes;
inline constexpr std::int64_t kHugePage = 2 << 20;
inline constexpr int kInlineBytes = 192;
inline constexpr int kNoticeBytes = 576;
inline constexpr int kReasonBytes = 160;

/// What a rank says at a meeting. Two of them, used in turn: nobody is two meetings ahead of a reader.
struct alignas(64) ControlLine {
  std::atomic<std::uint32_t> round;    // number of the last meeting reached, also a futex word
  std::atomic<std::uint32_t> waiters;  // written by the waiters
  Fingerprint fingerprint;
};
static_assert(sizeof(ControlLine) == 64);

struct alignas(64) RankBlock {
  struct {
    ControlLine line;
    char inline_staging[kInlineBytes];
  } half[2];
  char reason[2][kReasonBytes];  // why a call was refused, in turn like the control lines
  char notice[kNoticeBytes];     // addresses while arrays are registered; what the nodes have agreed on
};
static_assert(sizeof(RankBlock) == 1408);

/// The sender's side of a mailbox. `progress` is sequence << 32 | 1 + pieces published.
struct alignas(64) SendLine {
  std::atomic<std::uint64_t> progress;
  Envelope envelope;
  char small[2048 - 8 - sizeof(Envelope)];  // the data, when it fits; begins in the line of the envelope
};
static_assert(sizeof(SendLine) == 2048);

/// The receiver's side. `progress` is sequence << 32 | 1 + pieces consumed, or kRefused in the lower half.
struct alignas(64) ReceiveLine {
  std::atomic<std::uint64_t> progress;
  Envelope envelope;  // what was expected; only of a refused message
};

inline constexpr std::uint32_t kRefused = 0xffffffff;
inline constexpr std::int64_t kPiece = 32 << 10;
inline constexpr std::int64_t kSmallMessage = sizeof(SendLine::small);

/// From one rank to one other. Both lines are in one page: short messages touch no other.
struct alignas(4096) Mailbox {
  SendLine send;
  ReceiveLine receive;
  alignas(4096) char pieces[2][kPiece];
};

/// Written by all ranks.
struct Hub {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t ranks;
  std::uint8_t nonce[16];
  alignas(64) std::atomic<std::uint64_t> arrived;  // arrivals at all meetings so far
  alignas(64) std::atomic<std::uint32_t> epoch;    // number of the last complete meeting, a futex word
  std::atomic<std::uint32_t> sleepers;
  Outage outage;
};
static_assert(sizeof(Hub) <= 1024);

inline constexpr std::int64_t kBlocksOffset = 1024;

/// A Fate for every rank of the communicator, those of other nodes included; written by whoever learns of it.
inline std::int64_t fates_offset(int ranks) {
  return kBlocksOffset + static_cast<std::int64_t>(sizeof(RankBlock)) * ranks;
}
inline std::int64_t staging_offset(int ranks) {
  const std::int64_t end = fates_offset(ranks) + static_cast<std::int64_t>(sizeof(std::atomic<Fate>)) * ranks;
  return (end + kHugePage - 1) / kHugePage * kHugePage;
}
/// Bells and mailboxes begin at a huge page of their own, so that a mailbox can take small ones.
inline std::int64_t bells_offset(int ranks) {
  const std::int64_t end = staging_offset(ranks) + 2 * kStagingHalf * ranks;
  return (end + kHugePage - 1) / kHugePage * kHugePage;
}
inline std::int64_t mailboxes_offset(int ranks) {
  const std::int64_t end = bells_offset(ranks) + static_cast<std::int64_t>(sizeof(Bell)) * ranks;
  const auto align = static_cast<std::int64_t>(alignof(Mailbox));
  return (end + align - 1) / align * align;
}
inline std::int64_t notes_offset(int ranks) {
  return mailboxes_offset(ranks) + static_cast<std::int64_t>(sizeof(Mailbox)) * ranks * ranks;
}
/// A page per rank for what survivors tell each other while they agree on who is left; pyccl/survivors.py gives it its
/// form. Written by its owner.
inline constexpr std::int64_t kNoteBytes = 4096;
inline std::int64_t segment_bytes(int ranks) { return notes_offset(ranks) + kNoteBytes * ranks; }

}  // namespace pyccl::shm
