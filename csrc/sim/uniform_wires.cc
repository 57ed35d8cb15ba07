#include "sim/uniform_wires.h"

#include <stdexcept>

namespace pyccl::sim {
namespace {

double alone(const Lane& lane) { return lane.bytes / std::min(lane.capacity, lane.limit); }

}  // namespace

UniformWires::UniformWires(Lane push, Lane pull, double latency, double apply, std::uint32_t slots)
    : push_{push, SharedLink(push.capacity, push.limit), alone(push) + apply},
      pull_{pull, SharedLink(pull.capacity, pull.limit), alone(pull)}, latency_(latency), apply_(apply), since_(slots) {
}

void UniformWires::send(std::uint32_t slot, std::uint32_t, Way way, double now) {
  since_[slot] = now;
  of(way).link.enter(slot, of(way).lane.bytes, now);
}

void UniformWires::cancel(std::uint32_t, double) {
  throw std::logic_error("messages of a shared link are not given up");
}

double UniformWires::next(double) {
  const double moved = std::min(pull_.next(), push_.next());
  return landing_.empty() ? moved : std::min(moved, landing_.top().time);
}

void UniformWires::finish(std::uint32_t slot, Way way, double now, Arrival& arrival) const {
  const double since = since_[slot];
  arrival = {slot, way, since, Split::of(now - since, latency_, (way == Way::Push ? push_ : pull_).alone, 0)};
}

bool UniformWires::advance(Arrival& arrival) {
  const double pulled = pull_.next(), pushed = push_.next();
  if (!landing_.empty() && landing_.top().time <= std::min(pulled, pushed)) {
    const Event event = landing_.pop();
    finish(event.who(), static_cast<Way>(event.kind()), event.time, arrival);
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
  finish(slot, way, now, arrival);
  return true;
}

}  // namespace pyccl::sim
