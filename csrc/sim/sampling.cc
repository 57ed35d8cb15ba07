#include "sim/sampling.h"

#include <algorithm>
#include <utility>

namespace pyccl::sim {

Sampling::Sampling(Setting setting) : setting_(std::move(setting)), busy_(setting_.clients) {}

bool Sampling::free(std::uint32_t client, double now) const {
  return !busy_[client] && (!setting_.available || setting_.available(client, now));
}

std::optional<std::uint32_t> Sampling::pick(std::int64_t version, double now) {
  std::optional<std::uint32_t> found;
  if (setting_.cohorts) {
    if (version != version_ || cohort_.empty()) draw_cohort(version, now);
    if (!cohort_.empty()) {
      found = cohort_.back();
      cohort_.pop_back();
    }
  } else {
    found = draw_one(now);
  }
  if (found) busy_[*found] = true;
  return found;
}

// The clients of the least draws: a client that comes or goes changes nobody else's draw.
void Sampling::draw_cohort(std::int64_t version, double now) {
  std::vector<std::pair<double, std::uint32_t>> draws;
  for (std::uint32_t client = 0; client < setting_.clients; ++client) {
    if (free(client, now)) draws.emplace_back(setting_.uniform(client, static_cast<std::uint64_t>(version)), client);
  }
  const auto wanted = std::min<std::size_t>(setting_.slots, draws.size());
  const auto end = draws.begin() + static_cast<std::ptrdiff_t>(wanted);
  std::partial_sort(draws.begin(), end, draws.end());
  cohort_.clear();
  for (auto at = end; at != draws.begin(); --at) cohort_.push_back((at - 1)->second);
  version_ = version;
}

std::optional<std::uint32_t> Sampling::draw_one(double now) {
  constexpr std::uint32_t kAttempts = 64;
  const std::uint64_t draw = draws_++;
  std::uint32_t client = 0;
  for (std::uint32_t attempt = 0; attempt < kAttempts; ++attempt) {
    const double u = setting_.uniform(attempt, draw);
    client = std::min(static_cast<std::uint32_t>(u * setting_.clients), setting_.clients - 1);
    if (free(client, now)) return client;
  }
  for (std::uint32_t i = 0; i < setting_.clients; ++i) {
    client = client + 1 == setting_.clients ? 0 : client + 1;
    if (free(client, now)) return client;
  }
  return std::nullopt;
}

}  // namespace pyccl::sim
