#include "comm/flight.h"

#include <algorithm>
#include <bit>

#include "core/ticks.h"
#include "engine/deadline.h"

namespace pyccl {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

std::uint64_t pack(const FlightEntry& e) {
  return e.kind | std::uint64_t{e.op} << 8 | std::uint64_t{e.dtype} << 16 | std::uint64_t{e.algorithm} << 24 |
         std::uint64_t{static_cast<std::uint32_t>(e.peer)} << 32;
}

FlightEntry unpack(std::uint64_t what) {
  FlightEntry e;
  e.kind = static_cast<std::uint8_t>(what);
  e.op = static_cast<std::uint8_t>(what >> 8);
  e.dtype = static_cast<std::uint8_t>(what >> 16);
  e.algorithm = static_cast<std::uint8_t>(what >> 24);
  e.peer = static_cast<std::int32_t>(what >> 32);
  return e;
}

}  // namespace

FlightEntry FlightEntry::of(const Call& call, int size) {
  FlightEntry e;
  e.kind = static_cast<std::uint8_t>(call.kind);
  e.op = static_cast<std::uint8_t>(call.op);
  e.dtype = static_cast<std::uint8_t>(call.dtype);
  e.algorithm = static_cast<std::uint8_t>(call.algorithm);
  e.peer = call.root;
  e.count = call.count;
  if (call.kind == Collective::AllToAll) {
    e.count *= size;
    for (std::int64_t c : call.send_counts) e.count += c;
  }
  return e;
}

FlightEntry FlightEntry::of(const MessageCall& message) {
  FlightEntry e;
  e.kind = message.sends ? kSend : kReceive;
  e.dtype = static_cast<std::uint8_t>(message.dtype);
  e.peer = message.peer;
  e.tag = message.tag;
  e.count = message.count;
  return e;
}

void Flight::reset(std::size_t capacity) {
  mask_ = std::bit_ceil(std::max<std::size_t>(capacity, 2)) - 1;
  slots_ = std::make_unique<Slot[]>(mask_ + 1);
  since_ = monotonic_seconds();
  since_ticks_ = ticks();
}

std::uint64_t Flight::open(const FlightEntry& e, FlightState state, std::int32_t place) {
  const std::uint64_t number = next_.load(kRelaxed) + 1;
  next_.store(number, kRelaxed);
  const std::int64_t now = ticks();
  Slot& s = slots_[number & mask_];
  s.number.store(number, kRelaxed);
  s.queued.store(now, kRelaxed);
  s.start.store(state == FlightState::Running ? now : 0, kRelaxed);
  s.end.store(0, kRelaxed);
  s.count.store(e.count, kRelaxed);
  s.what.store(pack(e), kRelaxed);
  s.sequence.store(0, kRelaxed);
  s.tag.store(e.tag, kRelaxed);
  s.state.store(static_cast<std::uint32_t>(state), kRelaxed);
  s.place.store(place, kRelaxed);
  return number;
}

void Flight::begin(std::uint64_t number, std::uint32_t sequence) {
  Slot* s = find(number);
  if (!s) return;
  s->sequence.store(sequence, kRelaxed);
  if (s->state.load(kRelaxed) != static_cast<std::uint32_t>(FlightState::Queued)) return;
  s->start.store(ticks(), kRelaxed);
  s->state.store(static_cast<std::uint32_t>(FlightState::Running), kRelaxed);
}

bool Flight::end(std::uint64_t number, FlightState state) {
  Slot* s = find(number);
  if (!s || s->state.load(kRelaxed) >= static_cast<std::uint32_t>(FlightState::Done)) return false;
  s->end.store(ticks(), kRelaxed);
  s->state.store(static_cast<std::uint32_t>(state), kRelaxed);
  return true;
}

void Flight::land(std::uint64_t number) {
  end(number, FlightState::Done);
  __builtin_prefetch(&slots_[(written() + 1) & mask_], 1);
}

void Flight::fail(std::uint64_t number, std::string why) {
  if (!end(number, FlightState::Failed)) return;
  const std::lock_guard lock(failing_);
  errors_.emplace_back(number, std::move(why));
  if (errors_.size() > kErrors) errors_.pop_front();
}

std::string Flight::error(std::uint64_t number) const {
  const std::lock_guard lock(failing_);
  const auto found = std::find_if(errors_.begin(), errors_.end(), [&](const auto& e) { return e.first == number; });
  return found == errors_.end() ? "" : found->second;
}

void Flight::set_place(std::uint64_t number, std::int32_t place) {
  if (Slot* s = find(number)) s->place.store(place, kRelaxed);
}

std::int32_t Flight::place(std::uint64_t number) const {
  const Slot* s = find(number);
  return s ? s->place.load(kRelaxed) : 0;
}

std::vector<FlightRecord> Flight::read() const {
  const double now = monotonic_seconds();
  const std::int64_t now_ticks = ticks();
  const double rate = now_ticks > since_ticks_ ? (now - since_) / static_cast<double>(now_ticks - since_ticks_) : 0;
  const auto seconds = [&](const std::atomic<std::int64_t>& t) {
    const std::int64_t value = t.load(kRelaxed);
    return value == 0 ? -1.0 : now - rate * static_cast<double>(now_ticks - value);
  };
  std::vector<FlightRecord> records;
  const std::uint64_t last = written();
  for (std::uint64_t n = last - std::min<std::uint64_t>(last, capacity()) + 1; n <= last; ++n) {
    const Slot& s = slots_[n & mask_];
    const std::uint64_t before = s.number.load(std::memory_order_acquire);
    FlightRecord r{n,
                   unpack(s.what.load(kRelaxed)),
                   s.sequence.load(kRelaxed),
                   static_cast<FlightState>(s.state.load(kRelaxed)),
                   s.place.load(kRelaxed),
                   seconds(s.queued),
                   seconds(s.start),
                   seconds(s.end),
                   {}};
    r.entry.tag = s.tag.load(kRelaxed);
    r.entry.count = s.count.load(kRelaxed);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (before != n || s.number.load(kRelaxed) != n) continue;
    if (r.state == FlightState::Failed) r.error = error(n);
    records.push_back(std::move(r));
  }
  return records;
}

}  // namespace pyccl
