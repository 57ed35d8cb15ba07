// Rules that make a version of several gradients: synchronous training with backup workers (Chen et al. 2016), K-async,
// n-softsync (Zhang et al. 2015), rounds of federated averaging, FedBuff.
#include <stdexcept>
#include <string>

#include "policy/rule.h"

namespace pyccl::policy {
namespace {

class QuorumRule final : public Rule {
 public:
  QuorumRule(int workers, Quorum setting) : Rule(workers), setting_(setting), missing_(workers), alive_(workers) {
    const int most = setting.waits ? workers : std::numeric_limits<int>::max();
    if (setting.count < 1 || setting.count > most) {
      throw std::invalid_argument("a version of " + std::to_string(setting.count) + " gradients of " +
                                  std::to_string(workers) + " workers that wait for it is never made");
    }
    given_.assign(static_cast<std::size_t>(workers), -1);
  }

  bool outdated(int worker) const override { return setting_.labelled && at(worker).read != version_; }

  std::unique_ptr<Rule> clone() const override { return std::make_unique<QuorumRule>(*this); }

 private:
  void save_more(BytesOut& out) const override {
    out.put(given_);
    out.put(held_);
    out.put(missing_);
    out.put(alive_);
  }
  void restore_more(BytesIn& in) override {
    in.get(given_);
    in.get(held_);
    in.get(missing_);
    in.get(alive_);
  }
  bool open(int worker) const override { return !setting_.waits || !has_given(worker); }

  Verdict arrive(int worker, std::int64_t staleness) override {
    if (setting_.labelled && staleness > 0) return {Fate::Dropped, staleness, 0.0};
    if (!has_given(worker)) {
      given_[static_cast<std::size_t>(worker)] = version_;
      --missing_;
    }
    ++held_;
    const double share = weight(setting_.weighting, staleness) / setting_.count;
    return {settle() ? Fate::Applied : Fate::Held, staleness, share};
  }

  void left(int worker, State) override {
    --alive_;
    if (!has_given(worker)) {
      --missing_;
      settle();
    }
  }

  bool has_given(int worker) const { return given_[static_cast<std::size_t>(worker)] == version_; }

  // Where workers wait, a version that nobody else can add to is made of what there is.
  bool settle() {
    if (held_ == 0 || (held_ < setting_.count && !(setting_.waits && missing_ == 0))) return false;
    ++version_;
    held_ = 0;
    missing_ = alive_;
    release_waiting();
    for (int worker = 0; setting_.labelled && worker < workers(); ++worker) {
      if (at(worker).state == State::Working) released_.push_back(worker);
    }
    return true;
  }

  Quorum setting_;
  std::vector<std::int64_t> given_;  // the version that each worker has last given a gradient to
  int held_ = 0, missing_, alive_;   // missing: those here who have not given one to this version
};

}  // namespace

std::unique_ptr<Rule> make_quorum(int workers, Quorum setting) {
  return std::make_unique<QuorumRule>(workers, setting);
}

}  // namespace pyccl::policy
