#include "sim/training_log.h"

namespace pyccl::sim {

TrainingLog::TrainingLog(std::uint32_t slots, std::uint32_t clients)
    : seconds(clients), finish(slots), rounds(clients), pushes(clients), pulls(clients) {}

void TrainingLog::charge(std::uint32_t client, const Split& split) {
  Seconds& to = seconds[client];
  to.latency += split.latency;
  to.bandwidth += split.bandwidth;
  to.contention += split.contention;
  to.recovery += split.recovery;
}

void TrainingLog::make(const std::vector<Gradient>& gradients, std::int64_t made, double now, std::int64_t most_rows) {
  step_ends.push_back(now);
  for (const auto& [client, read] : gradients) {
    const auto stale = static_cast<std::size_t>(made - 1 - read);
    if (stale >= staleness.size()) staleness.resize(stale + 1);
    ++staleness[stale];
    all_applied = all_applied && static_cast<std::int64_t>(applied.size()) < most_rows;
    if (all_applied) applied.push_back({now, client, read, made});
  }
  used += static_cast<std::int64_t>(gradients.size());
}

}  // namespace pyccl::sim
