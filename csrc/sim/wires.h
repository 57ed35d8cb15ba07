// How the messages of workers reach their servers' shards and come back: the seam between training and its network.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

namespace pyccl::sim {

/// A push ends when every shard has applied its part; a commit when the last replica of every shard has it.
enum class Way { Push, Pull, Commit };

/// Where the time of a message went, in seconds: the latency of its links; its bytes (and their apply) when alone;
/// what others cost; what a failure cost.
struct Split {
  double latency = 0, bandwidth = 0, contention = 0, recovery = 0;

  /// `seconds` of a message that takes `lat` and `alone` when undisturbed, and lost up to `lost` by a failure.
  static Split of(double seconds, double lat, double alone, double lost) {
    Split s;
    s.latency = std::min(lat, seconds);
    s.bandwidth = std::min(alone, seconds - s.latency);
    const double rest = seconds - s.latency - s.bandwidth;
    s.recovery = std::min(lost, rest);
    s.contention = rest - s.recovery;
    return s;
  }
};

struct Arrival {
  std::uint32_t slot;
  Way way;
  double since;  // when it set out
  Split split;
};

/// When a dead server's shards are not served.
struct Outage {
  double begin = std::numeric_limits<double>::infinity(), end = std::numeric_limits<double>::infinity();

  double overlap(double from, double to) const { return std::max(0.0, std::min(to, end) - std::max(from, begin)); }
};

class Wires {
 public:
  static constexpr double kNever = std::numeric_limits<double>::infinity();

  virtual ~Wires() = default;
  /// A message of `client`, with a part for every shard, sets out. A slot has one push or pull under way, and one
  /// commit.
  virtual void send(std::uint32_t slot, std::uint32_t client, Way way, double now) = 0;
  /// Where the time of the slot's push or pull, which is under way, has gone.
  virtual Split so_far(std::uint32_t slot, double now) = 0;
  /// Gives it up.
  virtual void cancel(std::uint32_t slot, double now) = 0;
  /// When something happens next, if nothing is sent before `other`.
  virtual double next(double other) = 0;
  /// Lets it happen; true if that ends a message.
  virtual bool advance(Arrival& arrival) = 0;
  /// Whether versions are copied to replicas.
  virtual bool replicated() const { return false; }
  /// Whether a shard is lost for good.
  virtual bool lost() const { return false; }
  virtual Outage outage() const { return {}; }
};

}  // namespace pyccl::sim
