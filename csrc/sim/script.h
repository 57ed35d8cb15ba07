// What the ranks do in one collective: a schedule lowered to operations, what each waits for, and who meets whom.
#pragma once

#include <cstdint>
#include <vector>

#include "core/schedule.h"

namespace pyccl::sim {

/// One message, or one local pass: successive steps of one kind with the same peers are one.
struct Operation {
  StepKind kind;
  int peers_begin, peers_end;    // in `distances` of a receive, in `letters` of a send
  int chunks_begin, chunks_end;  // in `chunks`
  int next_begin, next_end;      // in `next`: operations of this rank that wait for this one
  int waits = 0;                 // for how many
};

/// A message as its sender has it.
struct Letter {
  int op;
  int distance;  // of the receiver, to the right
  int pair;      // number of (sender, receiver), or of the distance where all ranks do the same
  int match;     // the receiver's operation
};

struct Script {
  std::vector<Operation> ops;
  std::vector<int> distances;
  std::vector<Letter> letters;  // in the order of leaving
  std::vector<int> chunks, next;
};

/// Scripts of all ranks; or one for all, if each does what rank 0 does with ranks and chunks shifted by its number.
struct Play {
  int size = 1, nchunks = 1;
  bool rotates = false;
  std::vector<Script> scripts;
  std::vector<std::int32_t> pair_src, pair_dst;  // rotating: 0 and the distance

  const Script& of(int rank) const { return scripts[rotates ? 0 : static_cast<std::size_t>(rank)]; }
  /// The number of pairs, and of a rank's pair among them.
  std::int64_t pairs() const { return static_cast<std::int64_t>(pair_src.size()) * (rotates ? size : 1); }
  std::int64_t pair(int rank, int number) const {
    return rotates ? static_cast<std::int64_t>(rank) * static_cast<std::int64_t>(pair_src.size()) + number : number;
  }
  /// The chunk that `rank` has where rank 0 has `chunk`.
  int chunk_of(int rank, int chunk) const;
};

/// Lowers `ranks` (one of them if `rotates`). Throws std::invalid_argument, naming ranks, when a message is never
/// received, or another chunk is received than sent.
Play lower(const std::vector<std::vector<Step>>& ranks, int size, int nchunks, bool rotates);

/// Bytes that every pair exchanges, by counting; `chunk_bytes` may have one entry for all.
std::vector<double> traffic(const Play& play, const std::vector<double>& chunk_bytes);

}  // namespace pyccl::sim
