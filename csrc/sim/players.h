// The ranks of one collective in virtual time: what each may send next, and what waits for what.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "sim/script.h"

namespace pyccl::sim {

/// What a schedule does not say.
struct Terms {
  std::vector<double> chunk_bytes;  // one entry: the same for all
  double gamma = 0;                 // seconds per byte combined
  bool folded = false;              // one rank stands for all: they rotate, and nothing tells them apart
};

/// A rank sends one message at a time, in program order unless all wait, and receives one at a time, in the order in
/// which both ends became ready; it begins once both are. Combining follows the arrival, one pass at a time.
///
/// `Wire` moves messages and tells the time: `carry(rank, to, letter, bytes)` is answered by delivered(rank),
/// `work(rank, seconds)` by computed(rank); `completed(rank, left)` says that `left` operations of it remain.
template <class Wire> class Players {
 public:
  Players(const Play& play, const Terms& terms, Wire wire)
      : play_(play), terms_(terms), wire_(std::move(wire)), actors_(terms.folded ? 1 : play.size), ports_(actors_),
        begins_(actors_ + 1), pending_(actors_) {
    for (int r = 0; r < actors_; ++r) begins_[r + 1] = begins_[r] + play.of(r).ops.size();
    if (begins_.back() > kMostState) throw std::length_error("too many steps for events: 2 bytes each are over 2 GiB");
    state_.resize(begins_.back());
    for (int r = 0; r < actors_; ++r) {
      const Script& script = play.of(r);
      for (std::size_t i = 0; i < script.ops.size(); ++i) state_[begins_[r] + i] = counted(script.ops[i].waits);
      ports_[r].left = static_cast<int>(script.ops.size());
    }
  }

  /// Bytes that a run of `play` takes.
  static std::size_t memory(const Play& play) {
    std::size_t ops = 0;
    for (int r = 0; r < play.size; ++r) ops += play.of(r).ops.size();
    return ops * sizeof(std::uint16_t) + static_cast<std::size_t>(play.size) * (sizeof(Port) + sizeof(std::size_t));
  }

  int actors() const { return actors_; }
  int left(int rank) const { return ports_[rank].left; }
  /// Whether nothing is under way and everybody has begun.
  bool quiet() const { return pending_ == 0; }

  void begin(int rank) {
    --pending_;
    const Script& script = play_.of(rank);
    for (int op = 0; op < static_cast<int>(script.ops.size()); ++op) {
      if (script.ops[op].waits == 0) ready(rank, op);
    }
  }

  void delivered(int rank) {
    --pending_;
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

  void computed(int rank) {
    --pending_;
    Port& port = ports_[rank];
    const int index = port.passes[port.computed++];
    port.computing = port.computed < port.passes.size();
    if (port.computing) work(rank, port.passes[port.computed]);
    complete(rank, index);
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
    return any;
  }

  /// Throws std::invalid_argument, naming ranks, if anybody has not ended.
  void check_ended() const {
    std::string text;
    int named = 0;
    bool ended = true;
    for (int r = 0; r < actors_ && named < 8; ++r) {
      if (ports_[r].left == 0) continue;
      ended = false;
      const Script& script = play_.of(r);
      const auto letter =
          static_cast<std::size_t>(ports_[r].overtaken.empty() ? ports_[r].next : ports_[r].overtaken[0]);
      if (letter >= script.letters.size()) continue;
      ++named;
      text += " rank " + std::to_string(r) + " cannot send to rank " +
              std::to_string(right_of(r, script.letters[letter].distance)) + ";";
    }
    if (!ended) throw std::invalid_argument("schedule deadlocks:" + text);
  }

 private:
  static constexpr std::size_t kMostState = std::size_t{1} << 30;  // operations of all ranks, two bytes each
  static constexpr std::uint16_t kReady = 0x8000;  // the rest counts what is missing: operations, then messages

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
    if (terms_.folded) return 0;
    const int to = rank + distance;
    return to < play_.size ? to : to - play_.size;
  }

  double bytes(int rank, const Operation& op) const {
    if (terms_.chunk_bytes.size() == 1) return terms_.chunk_bytes[0] * (op.chunks_end - op.chunks_begin);
    const Script& script = play_.of(rank);
    double sum = 0;
    for (int i = op.chunks_begin; i < op.chunks_end; ++i) {
      const int chunk = script.chunks[i];
      sum += terms_.chunk_bytes[play_.rotates ? play_.chunk_of(rank, chunk) : chunk];
    }
    return sum;
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

  void send(int rank) {
    Port& port = ports_[rank];
    const int to = right_of(rank, play_.of(rank).letters[port.letter].distance);
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
    ++pending_;
    const Script& script = play_.of(rank);
    const Letter& letter = script.letters[ports_[rank].letter];
    wire_.carry(rank, to, letter, bytes(rank, script.ops[letter.op]));
  }

  void arrived(int rank, int index) {
    if (terms_.gamma > 0 && play_.of(rank).ops[index].kind == StepKind::RecvReduce) compute(rank, index);
    else complete(rank, index);
  }

  void compute(int rank, int index) {
    Port& port = ports_[rank];
    port.passes.push_back(index);
    if (port.computing) return;
    port.computing = true;
    work(rank, index);
  }

  void work(int rank, int index) {
    ++pending_;
    const Operation& op = play_.of(rank).ops[index];
    const int operands = op.kind == StepKind::RecvReduce ? op.peers_end - op.peers_begin : 1;
    wire_.work(rank, op.kind == StepKind::Copy ? 0 : terms_.gamma * bytes(rank, op) * operands);
  }

  void complete(int rank, int index) {
    const Script& script = play_.of(rank);
    wire_.completed(rank, --ports_[rank].left);
    const Operation& op = script.ops[index];
    for (int i = op.next_begin; i < op.next_end; ++i) {
      if (--state(rank, script.next[i]) == 0) ready(rank, script.next[i]);
    }
  }

  const Play& play_;
  const Terms& terms_;
  Wire wire_;
  const int actors_;
  std::vector<Port> ports_;
  std::vector<std::size_t> begins_;   // by rank: where its part of `state_` begins
  std::vector<std::uint16_t> state_;  // by operation
  std::int64_t pending_;              // ranks that have not begun, messages and passes under way
};

}  // namespace pyccl::sim
