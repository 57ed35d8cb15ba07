#include "sim/schedule_run.h"

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string>

#include "sim/heap.h"
#include "sim/network.h"
#include "sim/routing.h"

namespace pyccl::sim {
namespace {

enum Kind : unsigned { kStart, kComputed, kDrained, kDelivered };

constexpr std::size_t kMostState = std::size_t{1} << 30;  // operations of all ranks, two bytes each
constexpr std::int64_t kLookUp = 1 << 20;                 // events

constexpr std::uint16_t kReady = 0x8000;  // the rest counts what is missing: operations before, then messages after

class Run {
 public:
  Run(const Play& play, const Setting& setting)
      : play_(play), set_(setting), routing_(play, setting.routes), actors_(setting.folded ? 1 : play.size),
        ports_(actors_), begins_(actors_ + 1), pair_bytes_(setting.folded ? play.pair_src.size() : play.pairs()) {
    out_.finish.assign(actors_, 0);
    for (int r = 0; r < actors_; ++r) begins_[r + 1] = begins_[r] + play.of(r).ops.size();
    if (begins_.back() > kMostState) throw std::length_error("too many steps for events: 2 bytes each are over 2 GiB");
    state_.resize(begins_.back());
    for (int r = 0; r < actors_; ++r) {
      const Script& script = play.of(r);
      for (std::size_t i = 0; i < script.ops.size(); ++i) state_[begins_[r] + i] = counted(script.ops[i].waits);
      ports_[r].left = static_cast<int>(script.ops.size());
      const double start = setting.starts.size() == 1 ? setting.starts[0] : setting.starts[r];
      out_.finish[r] = start;
      heap_.push(Event::make(start, kStart, r));
    }
    if (!routing_.any_shared()) return;
    network_.emplace(setting.routes.capacity, actors_);
    versions_.resize(actors_);
  }

  Outcome run() {
    do {
      while (!heap_.empty()) next();
    } while (overtake());
    for (const Port& port : ports_) {
      if (port.left > 0) deadlock();
    }
    out_.pair_bytes = std::move(pair_bytes_);
    return std::move(out_);
  }

 private:
  struct Port {
    int letter = -1;       // under way, or waiting in line
    int next = 0;          // the next to leave
    bool sending = false;  // under way, or waiting in line at its receiver
    bool receiving = false;
    int line_first = -1, line_last = -1;  // senders that wait for this rank
    int line_next = -1;                   // behind this rank, where it waits
    int left = 0;                         // operations to go
    bool computing = false;
    std::size_t computed = 0;
    std::vector<int> overtaken;  // letters before `next` that have not left
    std::vector<int> passes;     // operations with something to combine, in order
  };

  std::uint16_t& state(int rank, int op) { return state_[begins_[rank] + static_cast<std::size_t>(op)]; }
  static std::uint16_t counted(int n) {
    if (n >= kReady) throw std::length_error("an operation that waits for more than 32767 others or messages");
    return static_cast<std::uint16_t>(n);
  }
  int right_of(int rank, int distance) const {
    if (set_.folded) return 0;
    const int to = rank + distance;
    return to < play_.size ? to : to - play_.size;
  }

  double bytes(int rank, const Operation& op) const {
    if (set_.chunk_bytes.size() == 1) return set_.chunk_bytes[0] * (op.chunks_end - op.chunks_begin);
    const Script& script = play_.of(rank);
    double sum = 0;
    for (int i = op.chunks_begin; i < op.chunks_end; ++i) {
      const int chunk = script.chunks[i];
      sum += set_.chunk_bytes[play_.rotates ? play_.chunk_of(rank, chunk) : chunk];
    }
    return sum;
  }

  void next() {
    if (network_ && network_->changed() && heap_.top().time > now_) settle();
    const Event event = heap_.pop();
    now_ = event.time;
    if (++out_.events == set_.most_events) throw std::length_error("more events than allowed");
    if (out_.events % kLookUp == 0 && set_.look_up) set_.look_up();
    const int who = static_cast<int>(event.who());
    switch (event.kind()) {
      case kStart: begin(who); break;
      case kComputed: computed(who); break;
      case kDrained: drained(who, event.version()); break;
      default: delivered(who); break;
    }
    if (heap_.empty() && network_ && network_->changed()) settle();
  }

  void begin(int rank) {
    const Script& script = play_.of(rank);
    for (int op = 0; op < static_cast<int>(script.ops.size()); ++op) {
      if (script.ops[op].waits == 0) ready(rank, op);
    }
  }

  void ready(int rank, int index) {
    const Operation& op = play_.of(rank).ops[index];
    if (op.kind == StepKind::Send) {
      state(rank, index) = kReady | counted(op.peers_end - op.peers_begin);
      try_send(rank);
    } else if (op.kind == StepKind::Copy || op.kind == StepKind::Reduce) {
      state(rank, index) = kReady;
      compute(rank, index);
    } else {
      state(rank, index) = kReady | counted(op.peers_end - op.peers_begin);
      const auto& distances = play_.of(rank).distances;
      for (int i = op.peers_begin; i < op.peers_end; ++i) try_send(right_of(rank, distances[i]));
    }
  }

  bool both_ready(int rank, int index) {
    const Letter& letter = play_.of(rank).letters[index];
    return (state(rank, letter.op) & kReady) && (state(right_of(rank, letter.distance), letter.match) & kReady);
  }

  /// Sends the next letter if the port is free and both ends are ready.
  void try_send(int rank) {
    Port& port = ports_[rank];
    if (port.sending) return;
    for (std::size_t i = 0; i < port.overtaken.size(); ++i) {
      if (!both_ready(rank, port.overtaken[i])) continue;
      port.letter = port.overtaken[i];
      port.overtaken.erase(port.overtaken.begin() + static_cast<std::ptrdiff_t>(i));
      return send(rank);
    }
    if (port.next == static_cast<int>(play_.of(rank).letters.size()) || !both_ready(rank, port.next)) return;
    port.letter = port.next++;
    send(rank);
  }

  /// Where all wait in program order, a rank's first letter that can leave does: in the runtime sends wait for nobody.
  bool overtake() {
    bool any = false;
    for (int rank = 0; rank < actors_; ++rank) {
      Port& port = ports_[rank];
      const int end = static_cast<int>(play_.of(rank).letters.size());
      int first = port.next;
      while (!port.sending && first < end && !both_ready(rank, first)) ++first;
      if (port.sending || first >= end) continue;
      for (; port.next < first; ++port.next) port.overtaken.push_back(port.next);
      try_send(rank);
      any = true;
    }
    if (network_ && network_->changed()) settle();
    return any;
  }

  void send(int rank) {
    Port& port = ports_[rank];
    const Letter& letter = play_.of(rank).letters[port.letter];
    const int to = right_of(rank, letter.distance);
    port.sending = true;
    Port& receiver = ports_[to];
    if (!receiver.receiving) {
      depart(rank, to);
      return;
    }
    port.line_next = -1;
    (receiver.line_first < 0 ? receiver.line_first : ports_[receiver.line_last].line_next) = rank;
    receiver.line_last = rank;
  }

  void depart(int rank, int to) {
    ports_[to].receiving = true;
    const Script& script = play_.of(rank);
    const Letter& letter = script.letters[ports_[rank].letter];
    const std::int64_t pair = set_.folded ? letter.pair : play_.pair(rank, letter.pair);
    const double size = bytes(rank, script.ops[letter.op]);
    pair_bytes_[pair] += size;
    ++out_.messages;
    const auto shared = routing_.shared(pair);
    if (shared.empty() || size == 0) {
      heap_.push(Event::make(now_ + (routing_.latency(pair) + size / routing_.limit(pair)), kDelivered, rank));
    } else {
      network_->start(rank, shared, size, routing_.limit(pair), now_);
    }
  }

  void settle() {
    network_->settle(now_, [&](int rank, double end) {
      heap_.push(Event::make(end, kDrained, static_cast<std::uint32_t>(rank), ++versions_[rank]));
    });
  }

  void drained(int rank, std::uint32_t version) {
    if (versions_[rank] != version) return;
    network_->stop(rank);
    const std::int64_t pair = play_.pair(rank, play_.of(rank).letters[ports_[rank].letter].pair);
    heap_.push(Event::make(now_ + routing_.latency(pair), kDelivered, rank));
  }

  void delivered(int rank) {
    const Letter letter = play_.of(rank).letters[ports_[rank].letter];
    const int to = right_of(rank, letter.distance);
    Port& receiver = ports_[to];
    ports_[rank].sending = false;
    receiver.receiving = false;
    if (receiver.line_first >= 0) {
      const int first = receiver.line_first;
      receiver.line_first = ports_[first].line_next;
      depart(first, to);
    }
    if (--state(to, letter.match) == kReady) arrived(to, letter.match);
    if (--state(rank, letter.op) == kReady) complete(rank, letter.op);
    try_send(rank);
  }

  void arrived(int rank, int index) {
    if (set_.gamma > 0 && play_.of(rank).ops[index].kind == StepKind::RecvReduce) compute(rank, index);
    else complete(rank, index);
  }

  double seconds(int rank, int index) const {
    const Operation& op = play_.of(rank).ops[index];
    if (op.kind == StepKind::Copy) return 0;
    const int operands = op.kind == StepKind::RecvReduce ? op.peers_end - op.peers_begin : 1;
    return set_.gamma * bytes(rank, op) * operands;
  }

  void compute(int rank, int index) {
    Port& port = ports_[rank];
    port.passes.push_back(index);
    if (port.computing) return;
    port.computing = true;
    heap_.push(Event::make(now_ + seconds(rank, index), kComputed, rank));
  }

  void computed(int rank) {
    Port& port = ports_[rank];
    const int index = port.passes[port.computed++];
    port.computing = port.computed < port.passes.size();
    if (port.computing) heap_.push(Event::make(now_ + seconds(rank, port.passes[port.computed]), kComputed, rank));
    complete(rank, index);
  }

  void complete(int rank, int index) {
    const Script& script = play_.of(rank);
    out_.finish[rank] = now_;
    --ports_[rank].left;
    const Operation& op = script.ops[index];
    for (int i = op.next_begin; i < op.next_end; ++i) {
      if (--state(rank, script.next[i]) == 0) ready(rank, script.next[i]);
    }
  }

  [[noreturn]] void deadlock() const {
    std::string text = "schedule deadlocks:";
    int named = 0;
    for (int r = 0; r < actors_ && named < 8; ++r) {
      const Script& script = play_.of(r);
      const auto letter =
          static_cast<std::size_t>(ports_[r].overtaken.empty() ? ports_[r].next : ports_[r].overtaken[0]);
      if (ports_[r].left == 0 || letter >= script.letters.size()) continue;
      ++named;
      text += " rank " + std::to_string(r) + " cannot send to rank " +
              std::to_string(right_of(r, script.letters[letter].distance)) + ";";
    }
    throw std::invalid_argument(text);
  }

  const Play& play_;
  const Setting& set_;
  const Routing routing_;
  const int actors_;
  double now_ = 0;
  Heap heap_;
  std::optional<Network> network_;
  std::vector<std::uint32_t> versions_;  // of a flow's end, by sender
  std::vector<Port> ports_;
  std::vector<std::size_t> begins_;   // by rank: where its part of `state_` begins
  std::vector<std::uint16_t> state_;  // by operation
  std::vector<double> pair_bytes_;
  Outcome out_;
};

}  // namespace

Outcome run(const Play& play, const Setting& setting) { return Run(play, setting).run(); }

}  // namespace pyccl::sim
