#include "policy/rule.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

namespace pyccl::policy {

double weight(Weighting weighting, std::int64_t staleness) {
  const auto s = static_cast<double>(staleness);
  if (weighting == Weighting::Inverse) return 1 / std::max(1.0, s);
  return weighting == Weighting::InverseRoot ? 1 / std::sqrt(1 + s) : 1.0;
}

Rule::Rule(int workers) {
  if (workers < 1) throw std::invalid_argument("a rule needs at least 1 worker");
  members_.resize(static_cast<std::size_t>(workers));
}

void Rule::save(BytesOut& out) const {
  out.put(version_);
  out.put(members_);
  out.put(waiting_);
  out.put(next_);
  save_more(out);
}

void Rule::restore(BytesIn& in) {
  in.get(version_);
  in.get(members_);
  in.get(waiting_);
  in.get(next_);
  restore_more(in);
}

Rule::Member& Rule::checked(int worker, const char* what) {
  if (worker < 0 || worker >= workers()) {
    throw std::out_of_range("worker must be in [0, " + std::to_string(workers()) + "), got " + std::to_string(worker));
  }
  Member& member = members_[static_cast<std::size_t>(worker)];
  if (member.state == State::Gone) {
    throw std::logic_error("worker " + std::to_string(worker) + " has left and cannot " + what);
  }
  return member;
}

bool Rule::request(int worker) {
  Member& member = checked(worker, "go on");
  if (member.state != State::Idle) {
    throw std::logic_error("worker " + std::to_string(worker) + " requests to go on, but has not pushed yet");
  }
  if (open(worker)) {
    member.state = State::Granted;
    granted(worker);
    return true;
  }
  member.state = State::Waiting;
  waiting_.push_back(worker);
  return false;
}

std::int64_t Rule::begin(int worker) {
  Member& member = checked(worker, "begin");
  if (member.state != State::Granted && !(member.state == State::Working && outdated(worker))) {
    throw std::logic_error("worker " + std::to_string(worker) + " may not begin now");
  }
  member.state = State::Working;
  member.read = version_;
  return version_;
}

Verdict Rule::push(int worker) {
  Member& member = checked(worker, "push");
  if (member.state != State::Working) {
    throw std::logic_error("worker " + std::to_string(worker) + " pushes, but has not begun");
  }
  released_.clear();
  member.state = State::Idle;
  ++member.clock;
  return arrive(worker, version_ - member.read);
}

void Rule::leave(int worker) {
  Member& member = checked(worker, "leave");
  released_.clear();
  const State before = member.state;
  member.state = State::Gone;
  left(worker, before);
}

void Rule::release(int worker) {
  members_[static_cast<std::size_t>(worker)].state = State::Granted;
  released_.push_back(worker);
  granted(worker);
}

void Rule::release_waiting() {
  for (; next_ < waiting_.size(); ++next_) {
    const int worker = waiting_[next_];
    if (at(worker).state != State::Waiting) continue;  // has left
    if (!open(worker)) break;
    release(worker);
  }
  if (2 * next_ >= waiting_.size()) {
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(next_));
    next_ = 0;
  }
}

}  // namespace pyccl::policy
