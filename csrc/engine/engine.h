// Runs a Program on the arrays of one call.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "engine/pending.h"
#include "engine/program.h"
#include "engine/transport.h"
#include "kernels/kernels.h"

namespace pyccl {

/// Elements of every chunk and where they lie in input and output; the same numbers on every rank that has them.
struct Layout {
  std::vector<std::int64_t> counts, input_offsets, output_offsets;
  std::int64_t largest = 0;  // elements of the largest chunk on any rank: all must cut alike
};

struct Binding {
  const char* input = nullptr;
  char* output = nullptr;
  const Layout* layout = nullptr;
  kernels::Reduction how;
  std::int64_t divisor = 1;
  bool stream = false;  // non-temporal stores into outputs: the footprint exceeds the caches
  // of the ranks on this node, by rank; only for direct programs
  const std::vector<char*>* peer_inputs = nullptr;
  const std::vector<char*>* peer_outputs = nullptr;
};

/// Private memory that is kept between calls: page faults of fresh temporaries cost more than the reduction.
class Scratch {
 public:
  char* reserve(std::int64_t bytes);
  std::int64_t capacity() const { return capacity_; }

 private:
  struct Free { void operator()(void* p) const; };
  std::unique_ptr<char, Free> memory_;
  std::int64_t capacity_ = 0;
};

class Engine {
 public:
  Engine(int rank, Local* local, Remote* remote) : rank_(rank), local_(local), remote_(remote) {}

  /// Compares what the ranks have announced; called right after the first meeting, before anything of the user's is
  /// written. Throws when they differ; false means that all ranks have agreed to run another program instead.
  using Check = std::function<bool()>;

  /// `check` may be empty. `entered`: the ranks have just met, the first meeting is left out.
  /// Returns false when `check` did. Throws Timeout, Unheard, TransportError and what `check` throws.
  bool run(const Program& program, const Binding& binding, const Deadline& deadline, const Check& check, bool entered,
           int tag);

  /// True once if a user-defined reduction has failed since the last call. It does not stop the operation: the
  /// peers still need to be met.
  bool take_failure() { return std::exchange(user_failed_, false); }
  void note_failure(bool failed) { user_failed_ |= failed; }

 private:
  struct Segment;
  struct Lane;
  [[noreturn]] static void give_up(const std::vector<const Pending*>& recvs, const std::vector<const Pending*>& sends);
  bool run_segment(const Segment& segment, const Deadline& deadline, const Check* check, bool entered);
  void run_phases(const Program& program, const Binding& binding, const Deadline& deadline, int tag);
  void run_slices(Segment segment, std::int64_t length, const Deadline& deadline);
  void run_lanes(const Segment& whole, const Deadline& deadline);
  bool advance(Lane& lane);
  void post(const Segment& segment, const Round& round, Pending& sends, Pending& recvs);
  bool lands_on(const Segment& segment, const Round& round, const Pending& sends) const;
  bool writes_on(const Segment& segment, const Round& round, const Pending& sends) const;
  void execute(const Segment& segment, const Pass& pass);
  char* resolve(const Segment& segment, const Place& place) const;

  int rank_;
  Local* local_;
  Remote* remote_;
  Scratch scratch_;
  bool user_failed_ = false;
};

}  // namespace pyccl
