// Stale synchronous parallel (Ho et al. 2013), and bounded delay (Li et al. 2014) with an iteration of all as the task.
#include <stdexcept>

#include "policy/census.h"
#include "policy/rule.h"

namespace pyccl::policy {
namespace {

class ClockRule final : public Rule {
 public:
  ClockRule(int workers, std::int64_t staleness) : Rule(workers), staleness_(staleness) {
    if (staleness < 0) throw std::invalid_argument("staleness must be at least 0");
    for (int worker = 0; worker < workers; ++worker) clocks_.enter(0);
  }

  std::unique_ptr<Rule> clone() const override { return std::make_unique<ClockRule>(*this); }

 private:
  void save_more(BytesOut& out) const override { clocks_.save(out); }
  void restore_more(BytesIn& in) override { clocks_.restore(in); }
  bool open(int worker) const override { return clocks_.least() >= at(worker).clock - staleness_; }

  Verdict arrive(int worker, std::int64_t staleness) override {
    ++version_;
    const std::int64_t clock = at(worker).clock, before = clocks_.least();
    clocks_.enter(clock);
    clocks_.leave(clock - 1);
    if (clocks_.least() > before) release_waiting();
    return {Fate::Applied, staleness, 1.0};
  }

  // Who has finished is infinitely far ahead.
  void left(int worker, State) override {
    clocks_.leave(at(worker).clock);
    release_waiting();
  }

  std::int64_t staleness_;
  Census clocks_;
};

}  // namespace

std::unique_ptr<Rule> make_clocks(int workers, std::int64_t staleness) {
  return std::make_unique<ClockRule>(workers, staleness);
}

}  // namespace pyccl::policy
