// Says once per wait that it lasts suspiciously long.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "engine/deadline.h"

namespace pyccl {

class Stall {
 public:
  using Report = std::function<void(const std::string&)>;

  void set(double seconds, Report report) {
    limit_ = seconds;
    report_ = std::move(report);
  }
  /// For a slow wait to call now and then; `wait` is a number that differs from the last wait's, and
  /// `describe(seconds)` is called when it is time to say something.
  template <class Describe> void look(std::uint64_t wait, Describe&& describe) {
    if (!report_) return;
    const double now = monotonic_seconds();
    if (wait != wait_) {
      wait_ = wait;
      since_ = now;
      told_ = false;
    }
    if (told_ || now - since_ < limit_) return;
    told_ = true;
    report_(describe(std::to_string(static_cast<int>(now - since_ + 0.5)) + " s"));
  }

 private:
  double limit_ = 0;
  Report report_;
  std::uint64_t wait_ = ~std::uint64_t{0};
  double since_ = 0;
  bool told_ = false;
};

}  // namespace pyccl
