// Which send belongs to which receive, and in which round every step happens.
#pragma once

#include <vector>

#include "core/schedule.h"

namespace pyccl {

/// The outcome of walking all ranks' tables in lockstep. Indices: [rank][step].
struct Matching {
  int rounds = 0;
  std::vector<std::vector<int>> round;
  std::vector<std::vector<std::vector<int>>> sender_step;  // [rank][step][i]: the step at step.peers[i]
  std::vector<std::vector<char>> completes;                // after this step the chunk holds all contributions
};

/// A round takes from every rank as many steps as can go: a send whose chunk was not written in this round, a
/// receive whose message has been issued in this or an earlier round. Throws std::invalid_argument, naming
/// the ranks, on a deadlock, an unmatched message or a chunk that is sent without being held.
Matching match(const Schedule& schedule);

/// The same with rounds of two kinds: messages travel between nodes in the one and within nodes in the other, and the
/// kind changes only when nothing else can go on.
Matching match_by_level(const Schedule& schedule, const std::vector<int>& nodes);

}  // namespace pyccl
