// What came of a training, as columns. Times in seconds.
#pragma once

#include <cstdint>
#include <vector>

#include "sim/wires.h"

namespace pyccl::sim {

enum SpanKind : std::uint32_t { kSpanCompute, kSpanPush, kSpanWait, kSpanPull, kSpanReplicate };

/// A gradient that waits for the version it will be part of.
struct Gradient {
  std::uint32_t client;
  std::int64_t read;
};

struct TrainingLog {
  struct Seconds { double compute = 0, latency = 0, bandwidth = 0, contention = 0, recovery = 0; };
  struct Row {
    double time;
    std::uint32_t client;
    std::int64_t read, made;
  };
  struct Span {
    std::uint32_t client;
    std::uint32_t kind;
    double begin, end;
    std::int64_t round;
  };

  std::vector<Seconds> seconds;                     // of each client
  std::vector<double> finish;                       // of each slot
  std::vector<std::int64_t> rounds, pushes, pulls;  // of each client: gradients computed; messages that arrived
  std::vector<double> step_ends;                    // when each version stood
  std::vector<std::int64_t> staleness;              // gradients by staleness
  std::vector<Row> applied;
  std::vector<Span> spans;
  bool all_applied = true;  // whether every row has been kept
  std::int64_t dropped = 0, used = 0, events = 0;
  double makespan = 0;
  bool lost = false;  // ended because a shard was lost

  TrainingLog(std::uint32_t slots, std::uint32_t clients);
  void charge(std::uint32_t client, const Split& split);
  /// Version `made` stands, of all `gradients`.
  void make(const std::vector<Gradient>& gradients, std::int64_t made, double now, std::int64_t most_rows);
};

}  // namespace pyccl::sim
