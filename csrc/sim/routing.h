// Routes as a run needs them: which links of each are shared, and how fast a message goes where none is.
#pragma once

#include <span>
#include <vector>

#include "sim/schedule_run.h"

namespace pyccl::sim {

class Routing {
 public:
  Routing(const Play& play, const Routes& routes);

  double latency(std::int64_t pair) const { return of(latency_, pair); }
  /// Bytes/s of the links that no other message can be on at the same time.
  double limit(std::int64_t pair) const { return of(limit_, pair); }
  /// Links that several messages may be on.
  std::span<const int> shared(std::int64_t pair) const {
    if (shared_ends_.empty()) return {};
    const std::int64_t begin = pair == 0 ? 0 : shared_ends_[pair - 1];
    return {shared_.data() + begin, static_cast<std::size_t>(shared_ends_[pair] - begin)};
  }
  bool any_shared() const { return !shared_.empty(); }

 private:
  static double of(const std::vector<double>& values, std::int64_t i) {
    return values.size() == 1 ? values[0] : values[static_cast<std::size_t>(i)];
  }

  std::vector<double> latency_, limit_;
  std::vector<std::int64_t> shared_ends_;
  std::vector<int> shared_;
};

}  // namespace pyccl::sim
