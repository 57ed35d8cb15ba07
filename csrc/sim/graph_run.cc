#include "sim/graph_run.h"

#include <stdexcept>
#include <string>

#include "sim/graph_state.h"

namespace pyccl::sim {
namespace {

constexpr std::int64_t kLookUp = 1 << 20;  // events and rates
constexpr int kMostNamed = 8;

}  // namespace

Replay::Replay(const Graph& graph, const ReplaySetting& setting)
    : graph_(graph), set_(setting), ledger_(graph, setting.spans), lanes_(graph),
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

ReplayOutcome Replay::run() {
  for (go_on();; next()) {
    if (transfers_.changed() && (heap_.empty() || heap_.top().time > now_)) transfers_.settle(now_, heap_);
    if (heap_.empty()) break;
  }
  return outcome();
}

void Replay::next() {
  const Event event = heap_.pop();
  now_ = event.time;
  ++events_;
  const std::int64_t work = events_ + transfers_.rates_found();
  if (set_.most_events > 0 && work > set_.most_events) throw std::length_error("more events than most_events");
  if (work >= look_up_ && set_.look_up) {
    look_up_ = work + kLookUp;
    set_.look_up();
  }
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

void Replay::go_on() {
  for (std::size_t i = 0; i < ready_.size(); ++i) ready(ready_[i]);
  ready_.clear();
}

void Replay::ready(Ref ref) {
  switch (kind(ref)) {
    case Work::Compute: return column(ref).duration[at(ref)] > 0 ? queue(ref) : work(ref);
    case Work::Memory: return work(ref);
    case Work::Send: return set_.loggp && !takes_measured(ref) ? queue(ref) : send(ref);
    case Work::Recv: return post(ref);
    case Work::Meet: return come(ref);
  }
}

bool Replay::has_lane(Ref ref) const {
  const Work what = kind(ref);
  if (what == Work::Compute) return column(ref).duration[at(ref)] > 0;
  return set_.loggp && (what == Work::Recv || (what == Work::Send && !takes_measured(ref)));
}

void Replay::granted(Ref ref) {
  if (kind(ref) == Work::Compute) work(ref);
  else if (kind(ref) == Work::Send) send(ref);
  else push(set_.loggp->overhead, kEnded, ref.rank, ref.node);
}

void Replay::work(Ref ref) {
  begin(ref);
  const double seconds = column(ref).duration[at(ref)];
  if (seconds > 0) push(seconds, kEnded, ref.rank, ref.node);
  else end(ref);
}

void Replay::ended(Ref ref) {
  end(ref);
  if (kind(ref) == Work::Send && takes_measured(ref)) return arrive(ref);
  if (!has_lane(ref)) return;
  const int other = lanes_.leave(ref.rank, ref.node);
  if (other < 0) return;
  if (kind({ref.rank, other}) != Work::Recv) ledger_.because(ref.rank, other, ref.rank, ref.node);
  granted({ref.rank, other});
}

ReplayOutcome Replay::outcome() {
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

int Replay::first_stuck(int rank) const {
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

ReplayOutcome replay(const Graph& graph, const ReplaySetting& setting) { return Replay(graph, setting).run(); }

}  // namespace pyccl::sim
