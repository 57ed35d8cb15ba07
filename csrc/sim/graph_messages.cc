#include <algorithm>
#include <limits>
#include <stdexcept>

#include "sim/graph_state.h"

namespace pyccl::sim {
namespace {

constexpr std::int64_t kMessageBytes = 256;                  // with its flow, about
constexpr std::size_t kMostMessages = std::size_t{1} << 27;  // csrc/sim/heap.h has 28 bits

}  // namespace

void Replay::send(Ref ref) {
  begin(ref);
  if (takes_measured(ref)) return push(column(ref).duration[at(ref)], kEnded, ref.rank, ref.node);
  const int message = make({ref.rank, peer(ref), kNobody, ref.node, static_cast<double>(column(ref).nbytes[at(ref)])});
  const double start = depart(message);
  if (set_.loggp) push(start - now_ + set_.loggp->overhead, kEnded, ref.rank, ref.node);
}

int Replay::make(const Message& message) {
  if (free_messages_.empty()) {
    const std::size_t had = messages_.size();
    const std::size_t have = std::max<std::size_t>(64, had * 2);
    charge(static_cast<std::int64_t>(have - had) * kMessageBytes);
    if (have > kMostMessages) throw std::length_error("more messages under way than 2^27");
    messages_.resize(have);
    transfers_.allow(static_cast<int>(messages_.size()));
    for (std::size_t i = messages_.size(); i > had; --i) free_messages_.push_back(static_cast<int>(i - 1));
  }
  const int number = free_messages_.back();
  free_messages_.pop_back();
  messages_[number] = message;
  return number;
}

std::int64_t Replay::way(int source, int destination) const {
  const auto& w = set_.ways;
  const auto from = w.destination.begin() + w.first[source], to = w.destination.begin() + w.first[source + 1];
  const auto found = std::lower_bound(from, to, destination);
  if (found == to || *found != destination) throw std::logic_error("a message has no way");
  return found - w.destination.begin();
}

double Replay::depart(int number) {
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
  else land(number, now_ + way_latency_[w]);
  return now_;
}

void Replay::reached(int number) {
  const Message& m = messages_[number];
  const double landing = std::max(now_, in_free_[m.destination]) + beyond_first(m);
  in_free_[m.destination] = landing + set_.loggp->gap;
  land(number, m.meeting == kNobody ? landing : landing + set_.loggp->overhead);
}

void Replay::land(int number, double time) {
  const Message& m = messages_[number];
  if (m.meeting == kNobody) heap_.push(Event::make(time, kLanded, static_cast<std::uint32_t>(number)));
  else
    heap_.push(
        Event::make(time, kDelivered, static_cast<std::uint32_t>(m.meeting), static_cast<std::uint32_t>(m.place)));
}

void Replay::landed(int number) {
  const Ref ref{messages_[number].source, messages_[number].place};
  free_messages_.push_back(number);
  if (!set_.loggp) end(ref);
  arrive(ref);
}

void Replay::arrive(Ref ref) {
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

void Replay::post(Ref ref) {
  begin(ref);
  const auto box = boxes_.find(ref.rank);
  const bool came = box == boxes_.end()
                        ? arrivals_[number(ref)] == kCame
                        : box->second.post(column(ref).peer[at(ref)], column(ref).tag[at(ref)], ref.node);
  if (came) receive(ref);
  else arrivals_[number(ref)] = kPosted;
}

void Replay::take(Ref send, Ref recv) {
  ledger_.because(recv.rank, recv.node, send.rank, send.node);
  receive(recv);
}

void Replay::receive(Ref ref) {
  arrivals_[number(ref)] = kCame;
  if (set_.loggp) queue(ref);
  else end(ref);
}

}  // namespace pyccl::sim
