#include "core/schedule.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace pyccl {
namespace {

[[noreturn]] void bad(int rank, const std::string& what) {
  throw std::invalid_argument("schedule table of rank " + std::to_string(rank) + ": " + what);
}

}  // namespace

std::vector<Step> decode_table(std::span<const std::int32_t> table, int rank, int size, int nchunks) {
  std::vector<Step> steps;
  std::size_t at = 0;
  while (at < table.size()) {
    if (table.size() - at < 4) bad(rank, "truncated step");
    const std::int32_t kind = table[at], chunk = table[at + 1], source = table[at + 2], npeers = table[at + 3];
    at += 4;
    if (kind < 0 || kind > static_cast<std::int32_t>(StepKind::Reduce)) bad(rank, "unknown step kind");
    if (chunk < 0 || chunk >= nchunks) bad(rank, "chunk out of range");
    const bool local = kind >= static_cast<std::int32_t>(StepKind::Copy);
    if (local ? (source < 0 || source >= nchunks || npeers != 0) : npeers < 1) bad(rank, "bad operands");
    if (npeers < 0 || static_cast<std::size_t>(npeers) > table.size() - at) bad(rank, "truncated peer list");
    Step step{static_cast<StepKind>(kind), chunk, source, {table.begin() + at, table.begin() + at + npeers}};
    at += npeers;
    std::sort(step.peers.begin(), step.peers.end());
    for (std::size_t i = 0; i < step.peers.size(); ++i) {
      const int peer = step.peers[i];
      if (peer < 0 || peer >= size || peer == rank) bad(rank, "peer out of range");
      if (i > 0 && step.peers[i - 1] == peer) bad(rank, "peer named twice in one step");
    }
    if (step.kind == StepKind::Recv && step.peers.size() != 1) bad(rank, "recv from more than one peer");
    steps.push_back(std::move(step));
  }
  return steps;
}

bool holds_initially(const Schedule& s, int rank, int chunk) {
  switch (s.collective) {
    case Collective::AllGather:
    case Collective::Gather: return chunk == rank;
    case Collective::Broadcast:
    case Collective::Scatter: return rank == s.root;
    case Collective::AllToAll: return chunk / s.size == rank;
    default: return true;
  }
}

bool holds_finally(const Schedule& s, int rank, int chunk) {
  switch (s.collective) {
    case Collective::ReduceScatter:
    case Collective::Scatter: return chunk == rank;
    case Collective::Reduce:
    case Collective::Gather: return rank == s.root;
    case Collective::AllToAll: return chunk % s.size == rank;
    default: return true;
  }
}

bool reduces(Collective c) {
  return c == Collective::AllReduce || c == Collective::ReduceScatter || c == Collective::Reduce ||
         c == Collective::Barrier;
}

}  // namespace pyccl
