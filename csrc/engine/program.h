// What one rank runs: a schedule lowered to rounds of passes over memory, still without sizes.
#pragma once

#include <vector>

#include "core/schedule.h"

namespace pyccl {

/// Where a chunk's bytes lie. Input and Output of another rank exist only for registered arrays.
enum class Where : std::uint8_t { Input, Output, Scratch, Slot };

struct Place {
  int rank;
  Where where;
  int index;  // a chunk for Input and Output, else the number of the scratch piece or staging slot
};

/// dests = source, or for reductions dests = sources[0] op sources[1] op ...; one pass over memory.
struct Pass {
  int chunk;  // whose size this is
  bool reduce = false;
  bool completes = false;  // the result holds every rank's contribution: the point where Avg divides
  std::vector<Place> sources;
  std::vector<Place> dests;
};

/// A message to or from a rank of another node.
struct Message {
  int peer;
  int chunk;
  Place place;
};

struct Round {
  std::vector<Pass> before;  // publishing: writes only this rank's staging slots
  std::vector<Message> sends, recvs;
  bool meet = false;        // all ranks of the node meet here
  std::vector<Pass> after;  // consuming
};

/// Rounds [begin, end) that either meet on some node or on none. Where bytes travel between nodes, a phase is run on
/// the whole vector before the next one begins: without meetings pieces overtake each other as the network lets them.
struct Phase {
  int begin, end;
  bool meets;
};

struct Program {
  Collective collective;
  int nchunks = 1;
  int slots = 0;           // staging slots per rank, the maximum over all ranks
  int scratch = 0;         // private scratch pieces
  bool direct = false;     // reads and writes peers' registered arrays: one segment, and a meeting at the end
  bool meets = false;      // this node has several ranks
  bool any_meets = false;  // some node has
  bool spans_nodes = false;
  std::vector<Round> rounds;
  std::vector<Phase> phases;  // the same on every rank
};

/// How the user's arrays may be reached by the peers of the node.
struct Access {
  bool input_registered = false;
  bool output_registered = false;
};

/// Lowers `schedule` for `rank`. `nodes[r]` is the node of rank r. Throws std::invalid_argument when the
/// schedule deadlocks or leaves a message unmatched.
Program compile(const Schedule& schedule, int rank, const std::vector<int>& nodes);

/// The same without staging, on registered arrays; false when a hazard between ranks forbids it.
bool compile_direct(const Schedule& schedule, int rank, Access access, Program& program);

}  // namespace pyccl
