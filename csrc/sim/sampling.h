// Which clients of a federation take part.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

namespace pyccl::sim {

/// Draws are by number, so that every policy meets the same clients.
class Sampling {
 public:
  struct Setting {
    std::uint32_t clients, slots;
    bool cohorts;  // one draw of all slots for every version; else one client whenever a slot is free
    std::function<double(std::uint32_t who, std::uint64_t draw)> uniform;
    std::function<bool(std::uint32_t client, double now)> available;  // empty: always
    double retry;                                                     // seconds until who has found nobody asks again
  };

  explicit Sampling(Setting setting);
  /// A client that is free and available; nothing if there is none.
  std::optional<std::uint32_t> pick(std::int64_t version, double now);
  void give_back(std::uint32_t client) { busy_[client] = false; }
  std::uint32_t clients() const { return setting_.clients; }
  double retry() const { return setting_.retry; }

 private:
  bool free(std::uint32_t client, double now) const;
  void draw_cohort(std::int64_t version, double now);
  std::optional<std::uint32_t> draw_one(double now);

  Setting setting_;
  std::vector<char> busy_;
  std::vector<std::uint32_t> cohort_;  // those left of it, the last first
  std::int64_t version_ = -1;
  std::uint64_t draws_ = 0;
};

}  // namespace pyccl::sim
