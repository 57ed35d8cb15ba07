#include "sim/uniform_wires.h"

#include <stdexcept>

namespace pyccl::sim {
namespace {

double alone(const Lane& lane) { return lane.bytes / std::min(lane.capacity, lane.limit); }

}  // namespace

UniformWires::UniformWires(Lane push, Lane pull, double latency, double apply, std::uint32_t slots)
    : push_{push, SharedLink(push.capacity, push.limit), alone(push) + apply},
      pull_{pull, SharedLink(pull.capacity, pull.limit), alone(pull)}, latency_(latency), apply_(apply),
      messages_(slots) {}

void UniformWires::send(std::uint32_t slot, std::uint32_t, Way way, double now) {
  messages_[slot] = {now, way};
  of(way).link.enter(slot, of(way).lane.bytes, now);
}

void UniformWires::cancel(std::uint32_t, double) {
  throw std::logic_error("messages of a shared link are not given up");
}

double UniformWires::next(double) {
  const double moved = std::min(pull_.next(), push_.next());
  return landing_.empty() ? moved : std::min(moved, landing_.top().time);
}

Split UniformWires::so_far(std::uint32_t slot, double now) {
  const Message& message = messages_[slot];
  return Split::of(now - message.since, latency_, of(message.way).alone, 0);
}

void UniformWires::finish(std::uint32_t slot, double now, Arrival& arrival) {
  arrival = {slot, messages_[slot].way, messages_[slot].since, so_far(slot, now)};
}

bool UniformWires::advance(Arrival& arrival) {
  const double pulled = pull_.next(), pushed = push_.next();
  if (!landing_.empty() && landing_.top().time <= std::min(pulled, pushed)) {
    const Event event = landing_.pop();
    finish(event.who(), event.time, arrival);
    return true;
  }
  const Way way = pulled <= pushed ? Way::Pull : Way::Push;
  const double now = std::min(pulled, pushed);
  const std::uint32_t slot = of(way).link.leave(now);
  double end = now + latency_;
  if (way == Way::Push && apply_ > 0) end = free_ = std::max(end, free_) + apply_;
  if (end > now) {
    landing_.push(Event::make(end, static_cast<unsigned>(way), slot));
    return false;
  }
  finish(slot, now, arrival);
  return true;
}

}  // namespace pyccl::sim
