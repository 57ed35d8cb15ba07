#include "sim/flow_wires.h"

#include <algorithm>
#include <utility>

namespace pyccl::sim {
namespace {

constexpr unsigned kDie = 0, kRestore = 1, kLanded = 2, kApplied = 3;

}  // namespace

FlowWires::FlowWires(FlowSetting setting)
    : s_(std::move(setting)),
      network_(s_.capacity, static_cast<int>((s_.replicas > 0 ? 2 : 1) * s_.slots * s_.servers)),
      messages_((s_.replicas > 0 ? 2 : 1) * s_.slots), parts_(messages_.size() * s_.servers), holders_(s_.servers),
      free_(s_.servers), bytes_(s_.capacity.size()), load_(s_.capacity.size()),
      alone_up_(s_.up.ends.size() / s_.servers, -1), alone_down_(alone_up_), ends_(parts_.size()) {
  for (std::uint32_t shard = 0; shard < s_.servers; ++shard) {
    for (std::uint32_t i = 0; i <= s_.replicas; ++i) holders_[shard].push_back((shard + i) % s_.servers);
  }
  if (s_.dies < kNever) {
    outage_ = {s_.dies, s_.dies + s_.recovery};
    events_.push(Event::make(s_.dies, kDie, 0));
  }
}

double FlowWires::bytes(const Message& message) const {
  return message.way == Way::Push ? s_.push : message.way == Way::Pull ? s_.pull : s_.state;
}

std::span<const int> FlowWires::route(std::uint32_t part) const {
  const Message& message = messages_[message_of(part)];
  const std::uint32_t shard = shard_of(part);
  if (message.way == Way::Commit) {
    const auto& chain = holders_[shard];
    const std::uint32_t hop = parts_[part].hop;
    return s_.across.row(std::size_t{chain[hop]} * s_.servers + chain[hop + 1]);
  }
  const Table& table = message.way == Way::Push ? s_.up : s_.down;
  return table.row(std::size_t{message.client} * s_.servers + owner(shard));
}

double FlowWires::latency_of(std::span<const int> links) const {
  double sum = 0;
  for (const int link : links) sum += s_.latency[link];
  return sum;
}

void FlowWires::send(std::uint32_t slot, std::uint32_t client, Way way, double now) {
  now_ = now;
  const std::uint32_t number = slot + (way == Way::Commit ? s_.slots : 0);
  messages_[number] = {way, client, s_.servers, now, false};
  for (std::uint32_t part = number * s_.servers; part < (number + 1) * s_.servers; ++part) {
    parts_[part].hop = 0;
    parts_[part].latency = 0;
    set_out(part);
  }
}

/// Whether the server that dies stands in the part's way: as owner, or anywhere in a chain.
bool FlowWires::unserved(std::uint32_t part) const {
  const auto& chain = holders_[shard_of(part)];
  if (messages_[message_of(part)].way != Way::Commit) return chain.front() == s_.dead;
  return std::find(chain.begin(), chain.end(), s_.dead) != chain.end();
}

// The route is that of now: a shard may have a new owner.
void FlowWires::set_out(std::uint32_t part) {
  Part& it = parts_[part];
  Message& message = messages_[message_of(part)];
  if (dead_now_ && unserved(part)) {
    it.stage = Stage::Stalled;
    it.hop = 0;
    it.latency = 0;
    message.stalled = true;
    return;
  }
  if (message.way == Way::Commit && it.hop + 1 >= holders_[shard_of(part)].size())
    return later(part, Stage::Landing, now_);
  it.route = route(part);
  if (it.route.empty()) return later(part, Stage::Landing, now_);
  it.stage = Stage::Moving;
  ++it.attempt;
  network_.start(static_cast<int>(part), it.route, bytes(message), kNever, now_);
}

void FlowWires::later(std::uint32_t part, Stage stage, double when) {
  Part& it = parts_[part];
  it.stage = stage;
  events_.push(Event::make(when, stage == Stage::Landing ? kLanded : kApplied, part, ++it.attempt));
}

void FlowWires::stop(std::uint32_t part) {
  Part& it = parts_[part];
  if (it.stage == Stage::Moving) {
    network_.stop(static_cast<int>(part));
    ends_.erase(part);
  }
  ++it.attempt;
  it.stage = Stage::Idle;
}

Split FlowWires::so_far(std::uint32_t slot, double now) {
  const Message& message = messages_[slot];
  const double lost = message.stalled ? outage_.overlap(message.since, now) : 0;
  return Split::of(now - message.since, parts_[slot * s_.servers].latency, alone_of_all(message), lost);
}

void FlowWires::cancel(std::uint32_t slot, double now) {
  now_ = now;
  for (std::uint32_t part = slot * s_.servers; part < (slot + 1) * s_.servers; ++part) stop(part);
  messages_[slot].parts = 0;
}

// What starts and ends at one instant is settled once.
double FlowWires::next(double other) {
  const auto is_void = [&](const Event& event) {
    return event.kind() >= kLanded && event.version() != parts_[event.who()].attempt;
  };
  while (!events_.empty() && is_void(events_.top())) events_.pop();
  const auto earliest = [this] { return std::min(ends_.time(), events_.empty() ? kNever : events_.top().time); };
  if (!network_.changed() || other <= now_ || earliest() <= now_) return earliest();
  network_.settle(now_, [&](int part, double end) { ends_.set(static_cast<std::uint32_t>(part), end); });
  return earliest();
}

bool FlowWires::advance(Arrival& arrival) {
  if (!events_.empty() && events_.top().kind() < kLanded && events_.top().time <= ends_.time()) {
    const Event event = events_.pop();
    now_ = event.time;
    if (event.kind() == kDie) die();
    else restore();
    return false;
  }
  if (events_.empty() || ends_.time() <= events_.top().time) {
    now_ = ends_.time();
    moved(ends_.who());
    return false;
  }
  const Event event = events_.pop();
  now_ = event.time;
  return event.kind() == kLanded ? landed(event.who(), arrival) : done(event.who(), arrival);
}

void FlowWires::moved(std::uint32_t part) {
  Part& it = parts_[part];
  network_.stop(static_cast<int>(part));
  ends_.erase(part);
  const double amount = bytes(messages_[message_of(part)]);
  for (const int link : it.route) bytes_[link] += amount;
  const double latency = latency_of(it.route);
  it.latency += latency;
  later(part, Stage::Landing, now_ + latency);
}

bool FlowWires::landed(std::uint32_t part, Arrival& arrival) {
  Part& it = parts_[part];
  const std::uint32_t shard = shard_of(part);
  const Message& message = messages_[message_of(part)];
  if (message.way == Way::Push && s_.apply > 0) {
    double& free = free_[owner(shard)];
    free = std::max(free, now_) + s_.apply;
    later(part, Stage::Applying, free);
    return false;
  }
  if (message.way == Way::Commit) {
    const auto& chain = holders_[shard];
    const auto last = static_cast<std::uint32_t>(chain.size()) - 1;
    if (it.hop + 1 < last) {
      ++it.hop;
      set_out(part);
      return false;
    }
    if (it.hop + 1 == last) {  // the tail tells the owner
      const double back = latency_of(s_.across.row(std::size_t{chain[last]} * s_.servers + chain[0]));
      it.latency += back;
      it.hop = last;
      later(part, Stage::Landing, now_ + back);
      return false;
    }
  }
  return done(part, arrival);
}

bool FlowWires::done(std::uint32_t part, Arrival& arrival) {
  Part& it = parts_[part];
  it.stage = Stage::Idle;
  const std::uint32_t number = message_of(part);
  Message& message = messages_[number];
  if (--message.parts > 0) return false;
  const double lost = message.stalled ? outage_.overlap(message.since, now_) : 0;
  arrival.slot = number % s_.slots;
  arrival.way = message.way;
  arrival.since = message.since;
  arrival.split = Split::of(now_ - message.since, it.latency, alone_of_all(message), lost);
  return true;
}

/// Seconds that the bytes of all parts take when nobody else is there: those of the busiest link.
double FlowWires::alone_of_all(const Message& message) {
  if (message.way == Way::Commit) {
    double longest = 0;
    for (std::uint32_t shard = 0; shard < s_.servers; ++shard) longest = std::max(longest, alone_chain(shard));
    return longest;
  }
  double& known = (message.way == Way::Push ? alone_up_ : alone_down_)[message.client];
  if (known >= 0) return known;
  const Table& table = message.way == Way::Push ? s_.up : s_.down;
  const std::size_t first = std::size_t{message.client} * s_.servers;
  double longest = 0;
  for (std::uint32_t shard = 0; shard < s_.servers; ++shard) {
    for (const int link : table.row(first + owner(shard))) {
      load_[link] += bytes(message);
      longest = std::max(longest, load_[link] / s_.capacity[link]);
    }
  }
  for (std::uint32_t shard = 0; shard < s_.servers; ++shard) {
    for (const int link : table.row(first + owner(shard))) load_[link] = 0;
  }
  return known = longest + (message.way == Way::Push ? s_.apply : 0);
}

double FlowWires::alone_chain(std::uint32_t shard) const {
  const auto& chain = holders_[shard];
  double sum = 0;
  for (std::size_t hop = 0; hop + 1 < chain.size(); ++hop) {
    double slowest = 0;
    for (const int link : s_.across.row(std::size_t{chain[hop]} * s_.servers + chain[hop + 1])) {
      slowest = std::max(slowest, s_.state / s_.capacity[link]);
    }
    sum += slowest;
  }
  return sum;
}

// All that the dead server held or was to hold waits for its successor; the job ends where there is none.
void FlowWires::die() {
  if (s_.replicas == 0) {
    lost_ = true;
    return;
  }
  dead_now_ = true;
  for (std::uint32_t part = 0; part < parts_.size(); ++part) {
    Message& message = messages_[message_of(part)];
    if (message.parts == 0 || !unserved(part)) continue;
    if (parts_[part].stage == Stage::Idle) {
      if (message.way != Way::Push) continue;
      ++message.parts;  // what it had applied nobody else has
    }
    stop(part);
    set_out(part);
  }
  events_.push(Event::make(now_ + s_.recovery, kRestore, 0));
}

void FlowWires::restore() {
  for (auto& chain : holders_) std::erase(chain, s_.dead);
  dead_now_ = false;
  std::fill(alone_up_.begin(), alone_up_.end(), -1);
  std::fill(alone_down_.begin(), alone_down_.end(), -1);
  for (std::uint32_t part = 0; part < parts_.size(); ++part) {
    if (parts_[part].stage == Stage::Stalled) set_out(part);
  }
}

}  // namespace pyccl::sim
