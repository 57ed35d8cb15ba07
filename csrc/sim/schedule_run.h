// Runs a schedule in virtual time on a modelled network.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "sim/players.h"
#include "sim/script.h"

namespace pyccl::sim {

/// What lies between sender and receiver of every pair of a Play, in its order.
struct Routes {
  std::vector<std::int64_t> ends;  // by pair: where its links end; empty: no two messages ever share a link
  std::vector<int> links;
  std::vector<double> latency, capacity;  // seconds and bytes/s by link; without `ends` by pair, or one for all
};

struct Setting {
  Routes routes;
  Terms terms;
  std::vector<double> starts;     // by rank; one entry: the same for all
  std::int64_t most_events = 0;   // 0: no limit
  std::function<void()> look_up;  // called now and then; may throw
};

struct Outcome {
  std::vector<double> finish;      // by rank; folded: one
  std::vector<double> pair_bytes;  // moved from sender to receiver, by pair
  std::int64_t messages = 0, events = 0;
};

/// Runs the ranks as Players does. All bytes of a message leave at the rate that its links allow, and arrive a latency
/// later. Throws std::invalid_argument, naming ranks, when they wait for each other.
Outcome run(const Play& play, const Setting& setting);

}  // namespace pyccl::sim
