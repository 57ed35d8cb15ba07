// Which ids get a row: all, those pushed often enough, or a random share of pushes.
#pragma once

#include <cstdint>
#include <vector>

namespace pyccl::server {

struct AdmissionSetting {
  std::int64_t after = 1;           // a row is made at the id's push of that number
  double probability = 1;           // that a push makes the row
  std::int64_t counters = 1 << 22;  // of 16 bits, where `after` is above 1
};

/// Counts are a count-min sketch (Cormode and Muthukrishnan 2005) with conservative update; the counters of an id are
/// in one cache line. An id may come early, if others share all of its counters, but not late; except that all counts
/// are halved after every `counters` * `after` / 16 additions, or a long stream would fill the sketch (as in TinyLFU,
/// Einziger et al. 2017). Before a halving a counter has got `after` / 4 of others on average, which an id that is
/// admitted early must have had in all four.
class Admission {
 public:
  static constexpr std::int64_t kMostAfter = 65535;
  static constexpr std::int64_t kMostCounters = std::int64_t{1} << 34;

  Admission(const AdmissionSetting& setting, std::uint64_t table);

  bool open() const { return after_ == 1 && probability_ >= 1; }
  /// Whether the push of `id` at that `time` makes a row.
  bool admit(std::int64_t id, std::int64_t time);
  std::int64_t bytes() const { return static_cast<std::int64_t>(counts_.size() * sizeof(std::uint16_t)); }

  std::vector<std::uint16_t>& counts() { return counts_; }
  const std::vector<std::uint16_t>& counts() const { return counts_; }
  std::int64_t additions() const { return additions_; }
  void set_additions(std::int64_t additions) { additions_ = additions; }

 private:
  std::int64_t count(std::int64_t id);

  std::int64_t after_;
  double probability_;
  std::uint64_t table_;
  std::vector<std::uint16_t> counts_;
  std::int64_t additions_ = 0;
};

}  // namespace pyccl::server
