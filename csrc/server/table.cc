#include "server/table.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

namespace pyccl::server {
namespace {

constexpr std::size_t kStalenessBins = 1024;

}  // namespace

Table::Table(Flow flow, bool mean, std::unique_ptr<policy::Rule> rule, std::unique_ptr<Storage> storage)
    : flow_(flow), mean_(mean), rule_(std::move(rule)), storage_(std::move(storage)) {
  const auto clients = static_cast<std::size_t>(rule_->workers());
  states_.assign(clients, State::Idle);
  read_.assign(clients, 0);
  verdicts_.assign(clients, {policy::Fate::Applied, 0, 1.0});
}

bool Table::open(int client) {
  State& state = at(client);
  if (state == State::Idle) state = rule_->request(client) ? State::Granted : State::Waiting;
  return state != State::Waiting;
}

std::int64_t Table::begin(int client) {
  State& state = at(client);
  if (state == State::Working && !rule_->outdated(client)) return read_[static_cast<std::size_t>(client)];
  if (!open(client)) throw std::logic_error("client " + std::to_string(client) + " begins out of turn");
  state = State::Working;
  storage_->began(client);
  return read_[static_cast<std::size_t>(client)] = rule_->begin(client);
}

/// Ends the client's iteration and lets those go on who waited for it.
policy::Verdict Table::judge(int client) {
  if (at(client) != State::Working) begin(client);
  const policy::Verdict verdict = rule_->push(client);
  at(client) = State::Idle;
  for (const int released : rule_->released()) {
    if (at(released) == State::Waiting) at(released) = State::Granted;
  }
  const auto bin = std::min(static_cast<std::size_t>(verdict.staleness), kStalenessBins - 1);
  if (staleness_.size() <= bin) staleness_.resize(bin + 1);
  ++staleness_[bin];
  ++(verdict.fate == policy::Fate::Dropped ? dropped_ : applied_);
  const bool versioned = flow_ == Flow::Averaged || flow_ == Flow::Buffered;
  if (!versioned && (applied_ + dropped_) % rule_->workers() == 0) storage_->tick();
  return verdict;
}

/// Makes a version if the rule has.
void Table::settle() {
  if (flow_ != Flow::Buffered || rule_->version() == made_) return;
  made_ = rule_->version();
  storage_->commit(mean_ && added_ > 0 ? 1 / added_ : 1.0);
  added_ = 0;
  storage_->tick();
}

void Table::push(Record& piece) {
  const int client = piece.client;
  policy::Verdict& verdict = verdicts_[static_cast<std::size_t>(client)];
  switch (flow_) {
    case Flow::Immediate:
      if (piece.piece == 0) verdict = judge(client);
      if (verdict.fate != policy::Fate::Dropped)
        storage_->apply(piece, piece.payload(), static_cast<float>(verdict.weight));
      break;
    case Flow::Clocked:
      if (at(client) != State::Working) begin(client);
      storage_->apply(piece, piece.payload(), 1.0F);
      verdict.staleness = rule_->version() - read_[static_cast<std::size_t>(client)];
      break;
    case Flow::Averaged:
    case Flow::Buffered:
      storage_->hold(piece);
      if (!piece.last()) return;
      verdict = judge(client);
      if (verdict.fate == policy::Fate::Dropped) {
        storage_->discard(client);
      } else {
        storage_->add(client, verdict.weight);
        added_ += verdict.weight;
      }
      settle();
      break;
  }
  piece.fate = verdict.fate;
  piece.version = verdict.staleness;
}

void Table::push_mean(const Record& step, const char* mean, const std::vector<int>& clients) {
  storage_->apply(step, mean, 1.0F);
  if (!step.last()) return;
  for (const int client : clients) judge(client);
}

void Table::clock(int client) {
  if (at(client) != State::Working) begin(client);
  judge(client);
}

void Table::leave(int client) {
  if (gone(client)) return;
  rule_->leave(client);
  at(client) = State::Gone;
  for (const int released : rule_->released()) {
    if (at(released) == State::Waiting) at(released) = State::Granted;
  }
  storage_->discard(client);
  settle();
}

void Table::save(BytesOut& out) const {
  rule_->save(out);
  out.put(states_);
  out.put(read_);
  out.put(verdicts_);
  out.put(staleness_);
  out.put(made_);
  out.put(applied_);
  out.put(dropped_);
  out.put(added_);
}

void Table::restore(BytesIn& in) {
  rule_->restore(in);
  in.get(states_);
  in.get(read_);
  in.get(verdicts_);
  in.get(staleness_);
  in.get(made_);
  in.get(applied_);
  in.get(dropped_);
  in.get(added_);
}

}  // namespace pyccl::server
