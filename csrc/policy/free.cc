// Asynchronous training, with or without a bound on staleness.
#include <stdexcept>

#include "policy/census.h"
#include "policy/rule.h"

namespace pyccl::policy {
namespace {

class FreeRule final : public Rule {
 public:
  FreeRule(int workers, std::int64_t max_staleness, bool waits, Weighting weighting)
      : Rule(workers), most_(max_staleness), waits_(waits), weighting_(weighting) {
    if (max_staleness < 0) throw std::invalid_argument("max_staleness must be at least 0");
    if (waits) oldest_.assign(static_cast<std::size_t>(workers), 0);
  }

  std::unique_ptr<Rule> clone() const override { return std::make_unique<FreeRule>(*this); }

 private:
  void save_more(BytesOut& out) const override {
    at_work_.save(out);
    out.put(oldest_);
  }
  void restore_more(BytesIn& in) override {
    at_work_.restore(in);
    in.get(oldest_);
  }
  // If all others at work were applied first, the oldest gradient would be as stale as it can become, now and whatever
  // comes: a push moves one worker from those at work to the versions made.
  bool open(int) const override {
    if (!waits_ || at_work_.empty()) return true;
    return version_ - at_work_.least() + at_work_.total() <= most_;
  }
  void granted(int worker) override {
    if (!waits_) return;
    oldest_[static_cast<std::size_t>(worker)] = version_;
    at_work_.enter(version_);
  }
  Verdict arrive(int worker, std::int64_t staleness) override {
    if (staleness > most_) return {Fate::Dropped, staleness, 0.0};
    ++version_;
    done(worker);
    return {Fate::Applied, staleness, weight(weighting_, staleness)};
  }
  void left(int worker, State before) override {
    if (before == State::Granted || before == State::Working) done(worker);
  }
  void done(int worker) {
    if (!waits_) return;
    at_work_.leave(oldest_[static_cast<std::size_t>(worker)]);
    release_waiting();
  }

  std::int64_t most_;
  bool waits_;
  Weighting weighting_;
  Census at_work_;  // by the oldest version that each may read
  std::vector<std::int64_t> oldest_;
};

}  // namespace

std::unique_ptr<Rule> make_free(int workers, std::int64_t max_staleness, bool waits, Weighting weighting) {
  return std::make_unique<FreeRule>(workers, max_staleness, waits, weighting);
}

}  // namespace pyccl::policy
