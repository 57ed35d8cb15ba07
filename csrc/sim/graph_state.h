// The state of one replay, and what its parts ask of each other: graph_run.cc has nodes, graph_messages.cc messages,
// graph_meetings.cc collectives.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <unordered_map>
#include <vector>

#include "sim/graph_run.h"
#include "sim/heap.h"
#include "sim/lanes.h"
#include "sim/ledger.h"
#include "sim/mailbox.h"
#include "sim/transfers.h"

namespace pyccl::sim {

class Replay {
 public:
  Replay(const Graph& graph, const ReplaySetting& setting);

  ReplayOutcome run();

 private:
  enum Kind : unsigned { kComputed, kEnded, kDrained, kReached, kLanded, kDelivered };
  enum Arrival : std::uint8_t { kNeither, kPosted, kCame };
  static constexpr int kNobody = -1;

  struct Ref { int rank, node; };

  struct Wire {
    Replay* replay;
    int meeting;
    void carry(int place, int to, const Letter&, double bytes) { replay->carry(meeting, place, to, bytes); }
    void work(int place, double seconds) { replay->push(seconds, kComputed, meeting, place); }
    void completed(int place, int left) {
      if (left == 0) replay->leave(meeting, place);
    }
  };

  /// Ranks of one gathering that do a collective.
  struct Meeting {
    int gathering, group, call, size, came = 0, left = 0;
    bool measured = false;
    std::uint64_t key;
    Ref last{kNobody, kNobody};
    std::vector<int> nodes;     // by place
    std::vector<int> messages;  // under way, by the sender's place
    std::unique_ptr<Players<Wire>> players;
    std::int64_t memory = 0;
  };

  struct Message {
    int source, destination;  // ranks
    int meeting, place;       // of a collective, or kNobody and the sender's node
    double bytes;
  };

  void push(double seconds, Kind kind, int who, int version) {
    heap_.push(Event::make(now_ + seconds, kind, static_cast<std::uint32_t>(who), static_cast<std::uint32_t>(version)));
  }
  std::size_t number(Ref ref) const { return static_cast<std::size_t>(ledger_.number(ref.rank, ref.node)); }
  Work kind(Ref ref) const { return static_cast<Work>(column(ref).kind[at(ref)]); }
  const Column& column(Ref ref) const { return graph_.column(ref.rank); }
  static std::size_t at(Ref ref) { return static_cast<std::size_t>(ref.node); }

  /// Takes so many bytes from the budget.
  void charge(std::int64_t bytes) {
    memory_ += bytes;
    if (set_.most_memory > 0 && memory_ > set_.most_memory)
      throw std::length_error("messages and collectives under way need more bytes than most_memory");
  }

  void next();
  /// Nodes that became ready, in that order; what they make ready comes behind them.
  void go_on();

  // --- nodes

  void ready(Ref ref);
  bool takes_measured(Ref ref) const { return set_.measured && column(ref).duration[at(ref)] > 0; }
  bool has_lane(Ref ref) const;
  void queue(Ref ref) {
    if (lanes_.take(ref.rank, ref.node)) granted(ref);
  }
  void granted(Ref ref);
  void begin(Ref ref) {
    ledger_.begun(ref.rank, ref.node, now_);
    const Links& l = graph_.links(ref.rank);
    if (!l.begun_first.empty()) release(ref, l.begun_first, l.begun);
  }
  void end(Ref ref) {
    ledger_.ended(ref.rank, ref.node, now_);
    const Links& l = graph_.links(ref.rank);
    release(ref, l.after_first, l.after);
  }
  void release(Ref ref, const std::vector<std::int32_t>& first, const std::vector<std::int32_t>& list) {
    for (int i = first[at(ref)]; i < first[at(ref) + 1]; ++i) {
      const Ref other{ref.rank, list[i]};
      if (--waits_[number(other)] > 0) continue;
      ledger_.because(other.rank, other.node, ref.rank, ref.node);
      ready_.push_back(other);
    }
  }
  void work(Ref ref);
  void ended(Ref ref);

  // --- messages

  int peer(Ref ref) const { return column(ref).peer[at(ref)] + graph_.shift(ref.rank); }
  void send(Ref ref);
  int make(const Message& message);
  std::span<const int> links_of(std::int64_t way) const {
    const std::int64_t begin = way == 0 ? 0 : set_.ways.ends[way - 1];
    return {set_.ways.links.data() + begin, static_cast<std::size_t>(set_.ways.ends[way] - begin)};
  }
  std::int64_t way(int source, int destination) const;
  /// Sends a message on its way and returns when its first byte leaves.
  double depart(int number);
  double beyond_first(const Message& m) const { return std::max(0.0, m.bytes - 1) * set_.loggp->per_byte; }
  /// LogGP: its first byte has come, and the rest follows when the receiver is free.
  void reached(int number);
  void land(int number, double time);
  void landed(int number);
  /// The message of send `ref` is there.
  void arrive(Ref ref);
  void post(Ref ref);
  void take(Ref send, Ref recv);
  void receive(Ref ref);

  // --- collectives

  void come(Ref ref);
  int meeting(int gathering, int group, int ordinal, Ref first);
  void carry(int index, int place, int to, double bytes);
  void delivered(int index, int place);
  void after(int index);
  void leave(int index, int place);
  void explain(const Meeting& m, Ref ref) {
    if (ref.rank != m.last.rank) ledger_.because(ref.rank, ref.node, m.last.rank, m.last.node);
  }
  void close(int index);

  // --- the end

  ReplayOutcome outcome();
  int first_stuck(int rank) const;

  const Graph& graph_;
  const ReplaySetting& set_;
  double now_ = 0;
  Heap heap_;
  Ledger ledger_;
  Lanes lanes_;
  Transfers transfers_;
  std::vector<double> out_free_, in_free_;  // LogGP: when a rank's interface is free again
  std::vector<double> way_bytes_, way_latency_;
  std::vector<std::int32_t> waits_;     // by node: for how many
  std::vector<std::uint8_t> arrivals_;  // by node: of its message
  std::vector<Ref> ready_;
  std::vector<Message> messages_;
  std::vector<int> free_messages_;
  std::unordered_map<int, Mailbox> boxes_;  // of ranks with wildcards
  std::vector<Meeting> meetings_;
  std::vector<int> free_meetings_;
  std::unordered_map<std::uint64_t, int> open_;
  std::int64_t sent_ = 0, events_ = 0, look_up_ = 0, memory_ = 0;
};

}  // namespace pyccl::sim
