#include "sim/graph_run.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <unordered_map>

#include "sim/heap.h"
#include "sim/lanes.h"
#include "sim/ledger.h"
#include "sim/mailbox.h"
#include "sim/transfers.h"

namespace pyccl::sim {
namespace {

enum Kind : unsigned { kComputed, kEnded, kDrained, kReached, kLanded, kDelivered };

constexpr std::int64_t kLookUp = 1 << 20;  // events
constexpr int kMostNamed = 8;
constexpr int kNobody = -1;
enum Arrival : std::uint8_t { kNeither, kPosted, kCame };

class Replay {
 public:
  Replay(const Graph& graph, const ReplaySetting& setting)
      : graph_(graph), set_(setting), ledger_(graph, budget(graph, setting)), lanes_(graph),
        transfers_(setting.ways.capacity, 0, kDrained), out_free_(setting.loggp ? graph.size() : 0),
        in_free_(out_free_.size()), way_bytes_(setting.ways.destination.size()) {
    for (int r = 0; r < graph.size(); ++r) {
      const Column& c = graph.column(r);
      for (std::size_t i = 0; i < c.count; ++i) {
        waits_.push_back(static_cast<std::int32_t>(c.starts[i + 1] - c.starts[i]));
        if (waits_.back() == 0) ready_.push_back({r, static_cast<int>(i)});
      }
      if (graph.links(r).wild) boxes_.try_emplace(r);
    }
    arrivals_.resize(waits_.size());
    way_latency_.resize(set_.ways.ends.size());
    for (std::size_t way = 0; way < way_latency_.size(); ++way) {
      for (const int link : links_of(static_cast<std::int64_t>(way))) way_latency_[way] += set_.ways.latency[link];
    }
  }

  ReplayOutcome run() {
    for (go_on();; next()) {
      if (transfers_.changed() && (heap_.empty() || heap_.top().time > now_)) transfers_.settle(now_, heap_);
      if (heap_.empty()) break;
    }
    return outcome();
  }

 private:
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

  static bool budget(const Graph& graph, const ReplaySetting& setting) {
    const std::int64_t each = 5 + Ledger::bytes_per_node(setting.spans);
    if (setting.most_memory > 0 && graph.nodes() > setting.most_memory / each)
      throw std::length_error(std::to_string(graph.nodes()) + " nodes need " + std::to_string(graph.nodes() * each) +
                              " bytes, more than most_memory");
    return setting.spans;
  }

  void push(double seconds, Kind kind, int who, int version) {
    heap_.push(Event::make(now_ + seconds, kind, static_cast<std::uint32_t>(who), static_cast<std::uint32_t>(version)));
  }
  std::size_t number(Ref ref) const { return static_cast<std::size_t>(ledger_.number(ref.rank, ref.node)); }
  Work kind(Ref ref) const { return static_cast<Work>(column(ref).kind[at(ref)]); }
  const Column& column(Ref ref) const { return graph_.column(ref.rank); }
  static std::size_t at(Ref ref) { return static_cast<std::size_t>(ref.node); }

  void next() {
    const Event event = heap_.pop();
    now_ = event.time;
    if (++events_ == set_.most_events) throw std::length_error("more events than most_events");
    if (events_ % kLookUp == 0 && set_.look_up) set_.look_up();
    const int who = static_cast<int>(event.who()), version = static_cast<int>(event.version());
    switch (event.kind()) {
      case kComputed:
        meetings_[who].players->computed(version);
        after(who);
        break;
      case kEnded: ended({who, version}); break;
      case kDrained:
        if (const auto arrival = transfers_.drained(event)) land(who, *arrival);
        break;
      case kReached: reached(who); break;
      case kLanded: landed(who); break;
      default: delivered(who, version); break;
    }
    go_on();
  }

  /// Nodes that became ready, in that order; what they make ready comes behind them.
  void go_on() {
    for (std::size_t i = 0; i < ready_.size(); ++i) ready(ready_[i]);
    ready_.clear();
  }

  // --- nodes

  void ready(Ref ref) {
    switch (kind(ref)) {
      case Work::Compute: return column(ref).duration[at(ref)] > 0 ? queue(ref) : work(ref);
      case Work::Memory: return work(ref);
      case Work::Send: return set_.loggp && !takes_measured(ref) ? queue(ref) : send(ref);
      case Work::Recv: return post(ref);
      case Work::Meet: return come(ref);
    }
  }

  bool takes_measured(Ref ref) const { return set_.measured && column(ref).duration[at(ref)] > 0; }
  bool has_lane(Ref ref) const {
    const Work what = kind(ref);
    if (what == Work::Compute) return column(ref).duration[at(ref)] > 0;
    return set_.loggp && (what == Work::Recv || (what == Work::Send && !takes_measured(ref)));
  }

  void queue(Ref ref) {
    if (lanes_.take(ref.rank, ref.node)) granted(ref);
  }
  void granted(Ref ref) {
    if (kind(ref) == Work::Compute) work(ref);
    else if (kind(ref) == Work::Send) send(ref);
    else push(set_.loggp->overhead, kEnded, ref.rank, ref.node);
  }

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

  void work(Ref ref) {
    begin(ref);
    const double seconds = column(ref).duration[at(ref)];
    if (seconds > 0) push(seconds, kEnded, ref.rank, ref.node);
    else end(ref);
  }

  void ended(Ref ref) {
    end(ref);
    if (kind(ref) == Work::Send && takes_measured(ref)) return arrive(ref);
    if (!has_lane(ref)) return;
    const int other = lanes_.leave(ref.rank, ref.node);
    if (other < 0) return;
    if (kind({ref.rank, other}) != Work::Recv) ledger_.because(ref.rank, other, ref.rank, ref.node);
    granted({ref.rank, other});
  }

  // --- messages

  int peer(Ref ref) const { return column(ref).peer[at(ref)] + graph_.shift(ref.rank); }

  void send(Ref ref) {
    begin(ref);
    if (takes_measured(ref)) return push(column(ref).duration[at(ref)], kEnded, ref.rank, ref.node);
    const int message = make({ref.rank, peer(ref), kNobody, ref.node, static_cast<double>(column(ref).nbytes[at(ref)])});
    const double start = depart(message);
    if (set_.loggp) push(start - now_ + set_.loggp->overhead, kEnded, ref.rank, ref.node);
  }

  int make(const Message& message) {
    if (free_messages_.empty()) {
      const std::size_t had = messages_.size();
      messages_.resize(std::max<std::size_t>(64, had * 2));
      transfers_.allow(static_cast<int>(messages_.size()));
      for (std::size_t i = messages_.size(); i > had; --i) free_messages_.push_back(static_cast<int>(i - 1));
    }
    const int number = free_messages_.back();
    free_messages_.pop_back();
    messages_[number] = message;
    return number;
  }

  std::span<const int> links_of(std::int64_t way) const {
    const std::int64_t begin = way == 0 ? 0 : set_.ways.ends[way - 1];
    return {set_.ways.links.data() + begin, static_cast<std::size_t>(set_.ways.ends[way] - begin)};
  }

  std::int64_t way(int source, int destination) const {
    const auto& w = set_.ways;
    const auto from = w.destination.begin() + w.first[source], to = w.destination.begin() + w.first[source + 1];
    const auto found = std::lower_bound(from, to, destination);
    if (found == to || *found != destination) throw std::logic_error("a message has no way");
    return found - w.destination.begin();
  }

  /// Sends a message on its way and returns when its first byte leaves.
  double depart(int number) {
    const Message& m = messages_[number];
    ++sent_;
    if (set_.loggp) {
      const LogGP& p = *set_.loggp;
      const double start = std::max(now_, out_free_[m.source]);
      out_free_[m.source] = start + beyond_first(m) + p.gap;
      push(start - now_ + p.overhead + p.latency, kReached, number, 0);
      return start;
    }
    const std::int64_t w = way(m.source, m.destination);
    const auto links = links_of(w);
    way_bytes_[w] += m.bytes;
    if (m.bytes > 0 && !links.empty())
      transfers_.start(number, links, m.bytes, std::numeric_limits<double>::infinity(), way_latency_[w], now_);
    else
      land(number, now_ + way_latency_[w]);
    return now_;
  }

  double beyond_first(const Message& m) const { return std::max(0.0, m.bytes - 1) * set_.loggp->per_byte; }

  /// LogGP: its first byte has come, and the rest follows when the receiver is free.
  void reached(int number) {
    const Message& m = messages_[number];
    const double landing = std::max(now_, in_free_[m.destination]) + beyond_first(m);
    in_free_[m.destination] = landing + set_.loggp->gap;
    land(number, m.meeting == kNobody ? landing : landing + set_.loggp->overhead);
  }

  void land(int number, double time) {
    const Message& m = messages_[number];
    if (m.meeting == kNobody) heap_.push(Event::make(time, kLanded, static_cast<std::uint32_t>(number)));
    else heap_.push(Event::make(time, kDelivered, static_cast<std::uint32_t>(m.meeting),
                                static_cast<std::uint32_t>(m.place)));
  }

  void landed(int number) {
    const Ref ref{messages_[number].source, messages_[number].place};
    free_messages_.push_back(number);
    if (!set_.loggp) end(ref);
    arrive(ref);
  }

  /// The message of send `ref` is there.
  void arrive(Ref ref) {
    const int to = peer(ref);
    int node = graph_.links(ref.rank).partner[at(ref)];
    if (node >= 0) {
      std::uint8_t& state = arrivals_[number({to, node})];
      if (state == kPosted) take(ref, {to, node});
      else state = kCame;
      return;
    }
    node = boxes_.at(to).arrive(ref.rank - graph_.shift(to), column(ref).tag[at(ref)]);
    if (node != Mailbox::kNone) take(ref, {to, node});
  }

  void post(Ref ref) {
    begin(ref);
    const auto box = boxes_.find(ref.rank);
    const bool came = box == boxes_.end()
                          ? arrivals_[number(ref)] == kCame
                          : box->second.post(column(ref).peer[at(ref)], column(ref).tag[at(ref)], ref.node);
    if (came) receive(ref);
    else arrivals_[number(ref)] = kPosted;
  }

  void take(Ref send, Ref recv) {
    ledger_.because(recv.rank, recv.node, send.rank, send.node);
    receive(recv);
  }
  void receive(Ref ref) {
    arrivals_[number(ref)] = kCame;
    if (set_.loggp) queue(ref);
    else end(ref);
  }

  // --- collectives

  void come(Ref ref) {
    begin(ref);
    const int group = column(ref).group[at(ref)], call = column(ref).call[at(ref)];
    const int gathering = graph_.gathering(ref.rank, group), place = graph_.place(ref.rank, group);
    const int index = meeting(gathering, group, graph_.links(ref.rank).ordinal[at(ref)], ref);
    Meeting& m = meetings_[index];
    if (m.call != call)
      throw std::invalid_argument("rank " + std::to_string(ref.rank) + " node " + std::to_string(ref.node) +
                                  " meets another collective, of other bytes or with another root");
    m.nodes[place] = ref.node;
    m.last = ref;
    ++m.came;
    if (m.players) {
      m.players->begin(place);
      if (m.players->left(place) == 0) leave(index, place);
      after(index);
    } else if (m.came == m.size) {
      for (int p = 0; p < m.size; ++p) {
        const Ref member{graph_.member(gathering, group, p), m.nodes[p]};
        if (m.measured && column(member).duration[at(member)] > 0) {
          explain(m, member);
          push(column(member).duration[at(member)], kEnded, member.rank, member.node);
        } else {
          leave(index, p);
        }
      }
      close(index);
    }
  }

  int meeting(int gathering, int group, int ordinal, Ref first) {
    const std::uint64_t key = (std::uint64_t{static_cast<std::uint32_t>(gathering)} << 32) | static_cast<std::uint32_t>(ordinal);
    const auto [found, fresh] = open_.try_emplace(key, 0);
    if (!fresh) return found->second;
    if (free_meetings_.empty()) {
      free_meetings_.push_back(static_cast<int>(meetings_.size()));
      meetings_.emplace_back();
    }
    const int index = found->second = free_meetings_.back();
    free_meetings_.pop_back();
    Meeting& m = meetings_[index];
    m = {gathering, group, column(first).call[at(first)], graph_.members(group), 0, 0, takes_measured(first), key,
         first, {}, {}, nullptr, 0};
    m.left = m.size;
    m.nodes.assign(m.size, kNobody);
    const int number = set_.table[static_cast<std::size_t>(m.call) * set_.nclasses + set_.classes[gathering]];
    const Call& call = set_.calls.at(static_cast<std::size_t>(number));
    if (m.measured || !call.play) return index;
    m.memory = static_cast<std::int64_t>(Players<Wire>::memory(*call.play));
    if (set_.most_memory > 0 && (memory_ += m.memory) > set_.most_memory)
      throw std::length_error("collectives under way need more bytes than most_memory");
    m.messages.resize(m.size);
    m.players = std::make_unique<Players<Wire>>(*call.play, call.terms, Wire{this, index});
    return index;
  }

  void carry(int index, int place, int to, double bytes) {
    Meeting& m = meetings_[index];
    m.messages[place] = make({graph_.member(m.gathering, m.group, place), graph_.member(m.gathering, m.group, to), index,
                              place, bytes});
    depart(m.messages[place]);
  }

  void delivered(int index, int place) {
    Meeting& m = meetings_[index];
    free_messages_.push_back(m.messages[place]);
    m.players->delivered(place);
    after(index);
  }

  void after(int index) {
    Meeting& m = meetings_[index];
    if (m.left == 0) return close(index);
    if (m.players->quiet() && !m.players->overtake()) m.players->check_ended();
  }

  void leave(int index, int place) {
    Meeting& m = meetings_[index];
    const Ref ref{graph_.member(m.gathering, m.group, place), m.nodes[place]};
    explain(m, ref);
    --m.left;
    end(ref);
  }
  void explain(const Meeting& m, Ref ref) {
    if (ref.rank != m.last.rank) ledger_.because(ref.rank, ref.node, m.last.rank, m.last.node);
  }

  void close(int index) {
    Meeting& m = meetings_[index];
    open_.erase(m.key);
    memory_ -= m.memory;
    m = {};
    free_meetings_.push_back(index);
  }

  // --- the end

  ReplayOutcome outcome() {
    ReplayOutcome out;
    for (int r = 0; r < graph_.size(); ++r) {
      out.finish.push_back(ledger_.finish(r));
      out.compute.push_back(ledger_.compute(r));
      out.communication.push_back(ledger_.communication(r));
      if (ledger_.left(r) > 0 && out.stuck.size() < kMostNamed) out.stuck.push_back({r, first_stuck(r)});
    }
    out.way_bytes = std::move(way_bytes_);
    out.begin = std::move(ledger_.begin);
    out.end = std::move(ledger_.end);
    out.before = std::move(ledger_.before);
    out.messages = sent_;
    out.events = events_;
    out.nodes = graph_.nodes();
    return out;
  }

  int first_stuck(int rank) const {
    for (const auto& [key, index] : open_) {
      const Meeting& m = meetings_[index];
      const int place = graph_.place(rank, m.group);
      if (place >= 0 && graph_.gathering(rank, m.group) == m.gathering && m.nodes[place] >= 0) return m.nodes[place];
    }
    const Column& c = graph_.column(rank);
    for (std::size_t i = 0; i < c.count; ++i) {
      const Ref ref{rank, static_cast<int>(i)};
      if (kind(ref) == Work::Recv && waits_[number(ref)] == 0 && arrivals_[number(ref)] == kPosted) return ref.node;
    }
    for (std::size_t i = 0; i < c.count; ++i) {
      if (waits_[number({rank, static_cast<int>(i)})] > 0) return static_cast<int>(i);
    }
    return 0;
  }

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
  std::int64_t sent_ = 0, events_ = 0, memory_ = 0;
};

}  // namespace

ReplayOutcome replay(const Graph& graph, const ReplaySetting& setting) { return Replay(graph, setting).run(); }

}  // namespace pyccl::sim
