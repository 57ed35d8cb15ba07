// The bytes that the ranks of a node share. Every line has one writer unless its comment says otherwise.
#pragma once

#include <atomic>
#include <cstdint>

#include "engine/fingerprint.h"

namespace pyccl::shm {

inline constexpr std::uint64_t kMagic = 0x70796363'6c73686dULL;  // "pycclshm"
inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::int64_t kStagingHalf = 512 << 10;
inline constexpr std::int64_t kHugePage = 2 << 20;
inline constexpr int kInlineBytes = 192;
inline constexpr int kNoticeBytes = 512;
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
static_assert(sizeof(RankBlock) == 1344);

/// Written by all ranks.
struct Hub {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t ranks;
  std::uint8_t nonce[16];
  alignas(64) std::atomic<std::uint64_t> arrived;  // arrivals at all meetings so far
  alignas(64) std::atomic<std::uint32_t> epoch;    // number of the last complete meeting, a futex word
  std::atomic<std::uint32_t> sleepers;
  alignas(64) std::atomic<std::uint32_t> broken;  // 0, or 1 while the text is written, or 2
  std::int32_t broken_kind;                       // see Broken in node.h
  std::int32_t broken_rank;
  char broken_text[kNoticeBytes];
};
static_assert(sizeof(Hub) <= 1024);

inline constexpr std::int64_t kBlocksOffset = 1024;

inline std::int64_t staging_offset(int ranks) {
  const std::int64_t end = kBlocksOffset + static_cast<std::int64_t>(sizeof(RankBlock)) * ranks;
  return (end + kHugePage - 1) / kHugePage * kHugePage;
}
inline std::int64_t segment_bytes(int ranks) { return staging_offset(ranks) + 2 * kStagingHalf * ranks; }

}  // namespace pyccl::shm
