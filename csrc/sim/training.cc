#include "sim/training.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "sim/heap.h"

namespace pyccl::sim {
namespace {

constexpr unsigned kAsk = 0, kComputed = 1, kRetry = 2;
constexpr std::int64_t kLookUp = 1 << 20;

enum class State : std::uint8_t { Idle, Computing, Pushing, Parked, Replicating, Pulling, Ended };

struct Slot {
  State state = State::Idle;
  bool last = false;  // has left the rule, and fetches the last version
  std::uint32_t client = 0;
  std::uint32_t attempt = 0;  // events of earlier ones are void
  double since = 0;           // of this state
  std::int64_t read = 0;
};

class Trainer {
 public:
  Trainer(const Training& setting, policy::Rule& rule, Wires& wires);
  TrainingLog run();

 private:
  void ask(std::uint32_t slot);
  void end(std::uint32_t slot);
  void go(std::uint32_t slot);
  void proceed(std::uint32_t slot);
  void start(std::uint32_t slot);
  void compute(std::uint32_t slot);
  void computed(std::uint32_t slot);
  void arrived(const Arrival& arrival);
  void pushed(std::uint32_t slot);
  void committed(const Arrival& arrival);
  void settle(std::uint32_t slot, std::int64_t before);
  void let_go();
  void give_up(std::uint32_t slot);
  void send(std::uint32_t slot, Way way);
  void close();

  void enter(std::uint32_t slot, State state) { slots_[slot].state = state, slots_[slot].since = now_; }
  void note(std::uint32_t slot, SpanKind kind, double begin);
  /// Whether the worker still has the model, the one that all begin with.
  bool at_first(std::uint32_t slot) const { return rule_.version() == 0 && rule_.clock(static_cast<int>(slot)) == 0; }
  bool ending(std::uint32_t slot) const {
    return (s_.rounds > 0 && rule_.clock(static_cast<int>(slot)) >= s_.rounds) ||
           (s_.versions > 0 && rule_.version() >= s_.versions);
  }

  const Training& s_;
  policy::Rule& rule_;
  Wires& wires_;
  TrainingLog log_;
  std::vector<Slot> slots_;
  std::vector<std::uint64_t> steps_;  // that each client has computed
  std::vector<Gradient> held_;
  std::vector<std::vector<std::uint32_t>> waiters_;  // for each slot's commit
  std::int64_t newest_ = -1;                         // slot of the newest commit, if it is under way
  Heap own_;
  double now_ = 0;
  bool over_ = false;
};

Trainer::Trainer(const Training& setting, policy::Rule& rule, Wires& wires)
    : s_(setting), rule_(rule), wires_(wires), log_(setting.slots, setting.clients), slots_(setting.slots),
      steps_(setting.clients) {
  if (wires.replicated()) waiters_.resize(s_.slots);
  for (std::uint32_t slot = 0; slot < s_.slots; ++slot) {
    if (s_.sampling == nullptr) slots_[slot].client = slot;
    own_.push(Event::make(s_.starts.empty() ? 0.0 : s_.starts[slot], kAsk, slot));
  }
}

TrainingLog Trainer::run() {
  while (!over_ && !wires_.lost()) {
    const double own = own_.empty() ? Wires::kNever : own_.top().time;
    const double wired = wires_.next(own), next = std::min(own, wired);
    if (next == Wires::kNever) break;
    if (next > s_.horizon) {
      now_ = s_.horizon;
      break;
    }
    now_ = next;
    if (++log_.events % kLookUp == 0 && s_.look_up) s_.look_up();
    if (s_.most_events > 0 && log_.events > s_.most_events) {
      throw std::invalid_argument("more than " + std::to_string(s_.most_events) + " events; it would not end soon");
    }
    if (wired <= own) {
      Arrival arrival{};
      if (wires_.advance(arrival)) arrived(arrival);
      continue;
    }
    const Event event = own_.pop();
    const std::uint32_t slot = event.who();
    if (event.kind() == kAsk) ask(slot);
    else if (event.version() != slots_[slot].attempt) continue;
    else if (event.kind() == kRetry) start(slot);
    else computed(slot);
  }
  close();
  return std::move(log_);
}

void Trainer::ask(std::uint32_t slot) {
  if (ending(slot)) return end(slot);
  enter(slot, State::Parked);
  if (rule_.request(static_cast<int>(slot))) go(slot);
}

void Trainer::end(std::uint32_t slot) {
  enter(slot, State::Parked);
  slots_[slot].last = true;
  const std::int64_t before = rule_.version();
  rule_.leave(static_cast<int>(slot));
  settle(slot, before);
  let_go();
  go(slot);
}

// A reader sees only what its replicas have.
void Trainer::go(std::uint32_t slot) {
  if (newest_ < 0) return proceed(slot);
  enter(slot, State::Replicating);
  waiters_[static_cast<std::size_t>(newest_)].push_back(slot);
}

void Trainer::proceed(std::uint32_t slot) {
  Slot& it = slots_[slot];
  if (!it.last) return start(slot);
  if (s_.sampling == nullptr && !at_first(slot)) return send(slot, Way::Pull);
  enter(slot, State::Ended);
  log_.finish[slot] = now_;
}

void Trainer::start(std::uint32_t slot) {
  Slot& it = slots_[slot];
  if (s_.sampling != nullptr) {
    const auto client = s_.sampling->pick(rule_.version(), now_);
    if (!client) {
      enter(slot, State::Idle);
      own_.push(Event::make(now_ + s_.sampling->retry(), kRetry, slot, ++it.attempt));
      return;
    }
    it.client = *client;
  }
  const bool has_model = s_.sampling == nullptr && at_first(slot);
  it.read = rule_.begin(static_cast<int>(slot));
  if (has_model) compute(slot);
  else send(slot, Way::Pull);
}

void Trainer::send(std::uint32_t slot, Way way) {
  enter(slot, way == Way::Push ? State::Pushing : State::Pulling);
  wires_.send(slot, slots_[slot].client, way, now_);
}

void Trainer::compute(std::uint32_t slot) {
  Slot& it = slots_[slot];
  double seconds = 0;
  for (int i = 0; i < s_.local_steps; ++i) seconds += s_.seconds(it.client, steps_[it.client]++);
  enter(slot, State::Computing);
  own_.push(Event::make(now_ + seconds, kComputed, slot, ++it.attempt));
}

void Trainer::computed(std::uint32_t slot) {
  const Slot& it = slots_[slot];
  log_.seconds[it.client].compute += now_ - it.since;
  ++log_.rounds[it.client];
  note(slot, kSpanCompute, it.since);
  send(slot, Way::Push);
}

void Trainer::arrived(const Arrival& arrival) {
  const std::uint32_t slot = arrival.slot;
  if (arrival.way == Way::Commit) return committed(arrival);
  Slot& it = slots_[slot];
  log_.charge(it.client, arrival.split);
  note(slot, arrival.way == Way::Push ? kSpanPush : kSpanPull, arrival.since);
  if (arrival.way == Way::Push) {
    ++log_.pushes[it.client];
    return pushed(slot);
  }
  ++log_.pulls[it.client];
  if (it.last) {
    enter(slot, State::Ended);
    log_.finish[slot] = now_;
  } else if (ending(slot)) {
    end(slot);
  } else if (rule_.outdated(static_cast<int>(slot))) {
    start(slot);
  } else {
    compute(slot);
  }
}

void Trainer::pushed(std::uint32_t slot) {
  Slot& it = slots_[slot];
  const std::int64_t before = rule_.version();
  if (s_.sampling != nullptr) s_.sampling->give_back(it.client);
  if (rule_.push(static_cast<int>(slot)).fate == policy::Fate::Dropped) ++log_.dropped;
  else held_.push_back({it.client, it.read});
  settle(slot, before);
  let_go();
  ask(slot);
}

// What has been held is in the version that has been made, if one has.
void Trainer::settle(std::uint32_t slot, std::int64_t before) {
  const std::int64_t made = rule_.version();
  if (made == before) return;
  log_.make(held_, made, now_, s_.most_rows);
  held_.clear();
  over_ = s_.sampling != nullptr && s_.versions > 0 && made >= s_.versions;
  if (!wires_.replicated()) return;
  wires_.send(slot, slots_[slot].client, Way::Commit, now_);
  newest_ = slot;
}

void Trainer::let_go() {
  if (rule_.released().empty()) return;
  const std::vector<int> released(rule_.released().begin(), rule_.released().end());
  for (const int worker : released) {
    const auto slot = static_cast<std::uint32_t>(worker);
    const State state = slots_[slot].state;
    if (state == State::Parked) {
      log_.seconds[slots_[slot].client].recovery += wires_.outage().overlap(slots_[slot].since, now_);
      note(slot, kSpanWait, slots_[slot].since);
    } else if (state == State::Computing || (s_.sampling != nullptr && state != State::Idle)) {
      give_up(slot);
    } else {
      continue;  // its message arrives first
    }
    if (ending(slot)) end(slot);
    else go(slot);
  }
}

void Trainer::give_up(std::uint32_t slot) {
  Slot& it = slots_[slot];
  if (it.state == State::Computing) {
    log_.seconds[it.client].compute += now_ - it.since;
    ++log_.rounds[it.client];
    ++it.attempt;
    note(slot, kSpanCompute, it.since);
  } else {
    log_.charge(it.client, wires_.so_far(slot, now_));
    wires_.cancel(slot, now_);
  }
  ++log_.dropped;
  if (s_.sampling != nullptr) s_.sampling->give_back(it.client);
}

void Trainer::committed(const Arrival& arrival) {
  const auto waiters = std::exchange(waiters_[arrival.slot], {});
  if (newest_ == arrival.slot) newest_ = -1;
  for (const std::uint32_t slot : waiters) {
    const Slot& it = slots_[slot];
    const Split& all = arrival.split;
    log_.charge(it.client, Split::of(now_ - it.since, all.latency, all.bandwidth, all.recovery));
    note(slot, kSpanReplicate, it.since);
    proceed(slot);
  }
}

// What was under way when the run ended belongs to the makespan.
void Trainer::close() {
  log_.lost = wires_.lost();
  log_.dropped += static_cast<std::int64_t>(held_.size());
  const bool cut = over_ || log_.lost || now_ == s_.horizon;
  log_.makespan = cut ? now_ : *std::max_element(log_.finish.begin(), log_.finish.end());
  for (std::uint32_t slot = 0; slot < s_.slots; ++slot) {
    const Slot& it = slots_[slot];
    if (it.state == State::Ended) continue;
    if (!cut) throw std::logic_error("worker " + std::to_string(slot) + " waits for ever");
    log_.finish[slot] = now_;
    if (it.state == State::Computing) log_.seconds[it.client].compute += now_ - it.since;
    if (it.state == State::Pushing || it.state == State::Pulling) log_.charge(it.client, wires_.so_far(slot, now_));
  }
}

void Trainer::note(std::uint32_t slot, SpanKind kind, double begin) {
  const std::int64_t round = rule_.clock(static_cast<int>(slot));
  if (round < s_.trace_rounds && now_ > begin) log_.spans.push_back({slots_[slot].client, kind, begin, now_, round});
}

}  // namespace

TrainingLog train(const Training& setting, policy::Rule& rule, Wires& wires) {
  return Trainer(setting, rule, wires).run();
}

}  // namespace pyccl::sim
