// Replays the work of a Graph in virtual time, on a network that its messages and its collectives' messages share.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "sim/graph.h"
#include "sim/players.h"

namespace pyccl::sim {

/// What lies between ranks: the ways from source s are numbers first[s] … first[s + 1] - 1, by ascending destination.
struct Ways {
  std::vector<std::int64_t> first;
  std::vector<std::int32_t> destination;
  std::vector<std::int64_t> ends;  // by way: where its links end
  std::vector<int> links;
  std::vector<double> latency, capacity;  // seconds and bytes/s by link
};

/// Seconds: of a message's way, a processor's work on it, between messages of a rank, and per byte after the first.
struct LogGP { double latency, overhead, gap, per_byte; };

/// How one kind of collective is done by one kind of gathering; without a play it takes no time.
struct Call {
  const Play* play = nullptr;
  Terms terms;
};

struct ReplaySetting {
  Ways ways;
  std::optional<LogGP> loggp;  // instead of the ways
  std::vector<Call> calls;
  std::vector<int> classes;  // by gathering
  int nclasses = 0;
  std::vector<int> table;        // [kind of collective][class]: index in `calls`
  bool measured = false;         // messages and collectives that have a duration take it
  bool spans = false;            // keep begin, end and cause of every node
  std::int64_t most_events = 0;  // and rates found; 0: no limit
  std::int64_t most_memory = 0;  // bytes of messages and collectives under way; 0: no limit
  std::function<void()> look_up;
};

struct ReplayOutcome {
  std::vector<double> finish, compute, communication;  // seconds by rank
  std::vector<double> way_bytes;
  std::vector<double> begin, end;          // seconds by node, ranks one behind the other; -1: it did not
  std::vector<std::int64_t> before;        // by node: why it began, or ended, no sooner; -1: nothing
  std::vector<std::pair<int, int>> stuck;  // rank and node, of some that wait for ever
  std::int64_t messages = 0, events = 0, nodes = 0;
};

/// Computing nodes take turns on their lane, memory nodes do not; sends wait for nobody and end when the message has
/// arrived (with LogGP: when the processor has handed it over); a collective begins for each rank when it comes to it,
/// as Players says. Throws std::length_error beyond a budget, std::invalid_argument if a schedule cannot end.
ReplayOutcome replay(const Graph& graph, const ReplaySetting& setting);

}  // namespace pyccl::sim
