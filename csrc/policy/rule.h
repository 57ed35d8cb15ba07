// A consistency rule: who may go on, and what becomes of a gradient. A pure state machine, with no clock and no I/O:
// the simulator and the parameter server ask the same object.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "core/bytes.h"

namespace pyccl::policy {

/// What becomes of a pushed gradient: it has made a new version, by itself or with those held before it; it is kept for
/// a version to come; or it is never used.
enum class Fate { Applied, Held, Dropped };

struct Verdict {
  Fate fate;
  std::int64_t staleness;  // versions made since the one it was computed on was read
  double weight;           // of the gradient in its update, as a share of the learning rate
};

/// A worker requests to go on, begins (reads a version), pushes what it has computed on it, and so on, until it leaves.
/// Every call is O(1), amortised.
class Rule {
 public:
  static constexpr std::int64_t kUnbounded = std::numeric_limits<std::int64_t>::max() / 2;

  explicit Rule(int workers);
  virtual ~Rule() = default;
  virtual std::unique_ptr<Rule> clone() const = 0;
  /// All that has happened, for a rule of the same kind and setting that takes this one's place.
  void save(BytesOut& out) const;
  void restore(BytesIn& in);

  /// True: `worker` may begin. False: it will be among the released of a later call.
  bool request(int worker);
  /// Returns the version that the worker reads. A worker that is at work may begin anew if its work is outdated.
  std::int64_t begin(int worker);
  /// Ends the worker's iteration.
  Verdict push(int worker);
  /// The worker has finished, or is gone: nobody waits for it any more.
  void leave(int worker);

  /// Workers that the last push or leave lets go on, in the order in which they asked; then those at work whose work it
  /// has made outdated.
  std::span<const int> released() const { return released_; }
  /// Whether what the worker computes will be dropped.
  virtual bool outdated(int) const { return false; }

  /// Versions made.
  std::int64_t version() const { return version_; }
  /// Iterations that the worker has ended.
  std::int64_t clock(int worker) const { return at(worker).clock; }
  int workers() const { return static_cast<int>(members_.size()); }

 protected:
  enum class State { Idle, Waiting, Granted, Working, Gone };
  struct Member {
    State state = State::Idle;
    std::int64_t read = 0, clock = 0;
  };

  virtual void save_more(BytesOut& out) const = 0;
  virtual void restore_more(BytesIn& in) = 0;
  virtual bool open(int worker) const = 0;
  virtual void granted(int) {}
  /// The verdict on a gradient; may make a version.
  virtual Verdict arrive(int worker, std::int64_t staleness) = 0;
  virtual void left(int worker, State before) = 0;

  const Member& at(int worker) const { return members_[static_cast<std::size_t>(worker)]; }
  void release(int worker);
  /// Lets waiting workers go, the first first, as long as they may.
  void release_waiting();

  std::int64_t version_ = 0;
  std::vector<int> released_;

 private:
  Member& checked(int worker, const char* what);

  std::vector<Member> members_;
  std::vector<int> waiting_;  // in order; from next_ on
  std::size_t next_ = 0;
};

/// How a gradient's weight falls with its staleness s: not, as 1 / max(1, s), as 1 / sqrt(1 + s).
enum class Weighting { Equal, Inverse, InverseRoot };
double weight(Weighting weighting, std::int64_t staleness);

struct Quorum {
  int count;      // gradients of one version
  bool labelled;  // only those computed on the last version count; others are dropped
  bool waits;     // who has given one waits for the version
  Weighting weighting = Weighting::Equal;
};
/// A version is made of `count` gradients at once, of fewer if those who could give more have left.
std::unique_ptr<Rule> make_quorum(int workers, Quorum setting);

/// Every gradient makes a version. Beyond `max_staleness` it is dropped; or, if `waits`, no worker begins that could
/// make another's gradient so stale.
std::unique_ptr<Rule> make_free(int workers, std::int64_t max_staleness, bool waits,
                                Weighting weighting = Weighting::Equal);

/// Every gradient makes a version; a worker begins iteration c when all have ended c - staleness (Ho et al. 2013).
std::unique_ptr<Rule> make_clocks(int workers, std::int64_t staleness);

}  // namespace pyccl::policy
