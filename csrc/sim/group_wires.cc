#include "sim/group_wires.h"

#include <algorithm>
#include <utility>

namespace pyccl::sim {
namespace {

constexpr unsigned kLanded = 0, kApplied = 1;

}  // namespace

GroupWires::GroupWires(Ways ways, std::vector<double> capacity, double push, double pull, double apply,
                       std::uint32_t slots)
    : ways_(std::move(ways)), network_(std::move(capacity), static_cast<int>(ways_.groups.size())), push_(push),
      pull_(pull), apply_(apply), messages_(slots), paces_(ways_.groups.size()), ends_(ways_.groups.size()) {}

void GroupWires::send(std::uint32_t slot, std::uint32_t client, Way way, double now) {
  now_ = now;
  Message& message = messages_[slot];
  message = {way, true, client, message.attempt + 1, now};
  const std::uint32_t group = group_of(message);
  Pace& pace = paces_[group];
  pace.advance(now);
  pace.ends.push(Event::make(pace.moved + (way == Way::Push ? push_ : pull_), 0, slot, message.attempt));
  resize(group, pace.open + 1);
}

Split GroupWires::so_far(std::uint32_t slot, double now) {
  const Message& message = messages_[slot];
  const bool up = message.way == Way::Push;
  const double per_byte = (up ? ways_.per_byte_up : ways_.per_byte_down)[message.client];
  const double alone = up ? push_ * per_byte + apply_ : pull_ * per_byte;
  return Split::of(now - message.since, (up ? ways_.latency_up : ways_.latency_down)[message.client], alone, 0);
}

void GroupWires::cancel(std::uint32_t slot, double now) {
  now_ = now;
  Message& message = messages_[slot];
  ++message.attempt;
  if (!std::exchange(message.moving, false)) return;
  const std::uint32_t group = group_of(message);
  paces_[group].advance(now);
  resize(group, paces_[group].open - 1);
}

void GroupWires::resize(std::uint32_t group, std::uint32_t open) {
  Pace& pace = paces_[group];
  const Group& it = ways_.groups[group];
  const auto flow = static_cast<int>(group);
  if (!it.links.empty() && pace.open == 0) network_.start(flow, it.links, kNever, it.limit, now_, it.shares);
  pace.open = open;
  if (!it.links.empty()) {
    if (open == 0) network_.stop(flow);
    else network_.weigh(flow, open);
  }
  if (!std::exchange(pace.dirty, true)) dirty_.push_back(group);
}

// When the group's next message ends, at the rate of now.
void GroupWires::refresh(std::uint32_t group) {
  Pace& pace = paces_[group];
  pace.dirty = false;
  pace.advance(now_);
  const auto given_up = [&](const Event& end) { return end.version() != messages_[end.who()].attempt; };
  while (!pace.ends.empty() && given_up(pace.ends.top())) pace.ends.pop();
  if (pace.open == 0) return ends_.erase(group);
  const Group& it = ways_.groups[group];
  pace.rate = it.links.empty() ? it.limit : network_.rate(static_cast<int>(group));
  const double left = std::max(0.0, pace.ends.top().time - pace.moved);
  ends_.set(group, now_ + left / pace.rate);
}

void GroupWires::drop_void() {
  while (!landing_.empty() && landing_.top().version() != messages_[landing_.top().who()].attempt) landing_.pop();
}

// What starts and ends at one instant is settled once.
double GroupWires::next(double other) {
  drop_void();
  const auto earliest = [this] { return std::min(ends_.time(), landing_.empty() ? kNever : landing_.top().time); };
  if (dirty_.empty() || other <= now_ || earliest() <= now_) return earliest();
  network_.settle(now_, [&](int group, double) {
    if (!std::exchange(paces_[static_cast<std::size_t>(group)].dirty, true)) {
      dirty_.push_back(static_cast<std::uint32_t>(group));
    }
  });
  for (const std::uint32_t group : dirty_) refresh(group);
  dirty_.clear();
  return earliest();
}

bool GroupWires::advance(Arrival& arrival) {
  if (landing_.empty() || ends_.time() <= landing_.top().time) {
    now_ = ends_.time();
    moved(ends_.who());
    return false;
  }
  const Event event = landing_.pop();
  now_ = event.time;
  const std::uint32_t who = event.who();
  if (event.kind() == kLanded && messages_[who].way == Way::Push && apply_ > 0) {
    free_ = std::max(free_, now_) + apply_;
    landing_.push(Event::make(free_, kApplied, who, ++messages_[who].attempt));
    return false;
  }
  return finish(who, arrival);
}

void GroupWires::moved(std::uint32_t group) {
  Pace& pace = paces_[group];
  const Event end = pace.ends.pop();
  pace.moved = std::max(pace.moved, end.time);
  pace.since = now_;
  ends_.erase(group);  // until it is settled
  resize(group, pace.open - 1);
  const std::uint32_t slot = end.who();
  Message& message = messages_[slot];
  message.moving = false;
  const double latency = (message.way == Way::Push ? ways_.latency_up : ways_.latency_down)[message.client];
  landing_.push(Event::make(now_ + latency, kLanded, slot, ++message.attempt));
}

bool GroupWires::finish(std::uint32_t slot, Arrival& arrival) {
  arrival = {slot, messages_[slot].way, messages_[slot].since, so_far(slot, now_)};
  return true;
}

}  // namespace pyccl::sim
