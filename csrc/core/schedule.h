// A schedule as the engine sees it: per rank a list of steps on chunk indices.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/types.h"

namespace pyccl {

enum class StepKind : std::int32_t { Send, Recv, RecvReduce, Copy, Reduce };

struct Step {
  StepKind kind;
  int chunk;
  int source_chunk;        // Copy and Reduce only
  std::vector<int> peers;  // ascending; empty for Copy and Reduce
};

/// More than any schedule needs (all_to_all has size * size), and little enough to be held in memory several times.
inline constexpr int kMaxChunks = 1 << 22;

struct Schedule {
  Collective collective;
  int size = 1, root = 0, nchunks = 1;
  std::uint32_t digest = 0;  // of a user's algorithm, so that ranks that disagree about it notice; 0 of pyccl's own
  std::vector<std::vector<Step>> ranks;
};

/// Decodes the flat stream `[kind, chunk, source_chunk, npeers, peer...]*` of one rank, checking every number.
/// Throws std::invalid_argument on a stream that no schedule can have.
std::vector<Step> decode_table(std::span<const std::int32_t> table, int rank, int size, int nchunks);

/// True when `rank` holds `chunk` before the first step.
bool holds_initially(const Schedule& schedule, int rank, int chunk);
/// True when `rank` must hold `chunk` after the last step.
bool holds_finally(const Schedule& schedule, int rank, int chunk);
/// True for the collectives that combine contributions.
bool reduces(Collective collective);

}  // namespace pyccl
