// Workers and a parameter server in virtual time: compute, push, wait for the rule, pull.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "policy/rule.h"
#include "sim/sampling.h"
#include "sim/training_log.h"
#include "sim/wires.h"

namespace pyccl::sim {

struct Training {
  std::uint32_t slots;  // places at the rule; worker and slot are one unless clients are sampled
  std::uint32_t clients;
  /// Seconds that a client computes, by its own count of steps; asked for in ascending order.
  std::function<double(std::uint32_t client, std::uint64_t step)> seconds;
  int local_steps = 1;             // between pull and push
  std::vector<double> starts;      // seconds; empty: all at 0
  std::int64_t rounds = 0;         // of each worker; 0: no such end
  std::int64_t versions = 0;       // of the model; likewise
  double horizon = Wires::kNever;  // seconds
  Sampling* sampling = nullptr;    // clients that fetch the model first, and are given up with all they have sent
  std::int64_t trace_rounds = 0;   // of each worker, spans are kept
  std::int64_t most_rows = 0;      // of `TrainingLog::applied`
  std::int64_t most_events = 0;    // 0: no limit
  std::function<void()> look_up;   // called now and then
};

/// Runs until every worker has ended, the versions are made, or the horizon.
TrainingLog train(const Training& setting, policy::Rule& rule, Wires& wires);

}  // namespace pyccl::sim
