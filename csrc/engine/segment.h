// What the engine runs at a time: some rounds on one slice of every chunk.
#pragma once

#include <algorithm>
#include <span>
#include <stdexcept>

#include "core/buffer.h"
#include "engine/engine.h"

namespace pyccl {

inline constexpr std::int64_t kLine = 64;

/// Elements [begin, begin + length) of every chunk, in the rounds [first, end).
struct Engine::Segment {
  const Program& program;
  const Binding& binding;
  std::int64_t unit;  // elements of a full slice, for which a staging slot has room
  std::int64_t item;  // bytes of an element
  bool inline_slots;
  int first = 0, end = 0;
  std::int64_t begin = 0, length = 0;
  char* scratch = nullptr;
  std::int64_t stride = 0;  // bytes from one scratch piece to the next
  std::int64_t skip = 0;    // elements of a scratch piece that belong to other slices
  int tag = 0;
  unsigned half = 0;  // of the staging areas

  std::int64_t count(int chunk) const {
    return std::clamp<std::int64_t>(binding.layout->counts[chunk] - begin, 0, length);
  }
  std::span<const Round> rounds() const {
    return std::span(program.rounds).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(end - first));
  }
};

/// Bytes that each staging slot of a program may have.
inline std::int64_t slot_room(const Program& program, std::int64_t staging_bytes) {
  const std::int64_t room = staging_bytes / std::max(program.slots, 1) / kLine * kLine;
  if (room == 0) throw std::length_error("too many staging slots for this number of ranks; choose another algorithm");
  return room;
}

}  // namespace pyccl
