#include "sim/schedule_run.h"

#include <optional>
#include <stdexcept>

#include "sim/heap.h"
#include "sim/routing.h"
#include "sim/transfers.h"

namespace pyccl::sim {
namespace {

enum Kind : unsigned { kStart, kComputed, kDrained, kDelivered };

constexpr std::int64_t kLookUp = 1 << 20;  // events

class Run {
 public:
  Run(const Play& play, const Setting& setting)
      : play_(play), set_(setting), routing_(play, setting.routes), players_(play, setting.terms, Wire{this}),
        pair_bytes_(setting.terms.folded ? play.pair_src.size() : play.pairs()) {
    const int actors = players_.actors();
    out_.finish.assign(actors, 0);
    for (int r = 0; r < actors; ++r) {
      const double start = setting.starts.size() == 1 ? setting.starts[0] : setting.starts[r];
      out_.finish[r] = start;
      heap_.push(Event::make(start, kStart, r));
    }
    if (!routing_.any_shared()) return;
    transfers_.emplace(setting.routes.capacity, actors, kDrained);
  }

  Outcome run() {
    do {
      while (!heap_.empty()) next();
    } while (overtake());
    players_.check_ended();
    out_.pair_bytes = std::move(pair_bytes_);
    return std::move(out_);
  }

 private:
  struct Wire {
    Run* run;
    void carry(int rank, int, const Letter& letter, double bytes) { run->carry(rank, letter, bytes); }
    void work(int rank, double seconds) { run->heap_.push(Event::make(run->now_ + seconds, kComputed, rank)); }
    void completed(int rank, int) { run->out_.finish[rank] = run->now_; }
  };

  void next() {
    if (transfers_ && transfers_->changed() && heap_.top().time > now_) transfers_->settle(now_, heap_);
    const Event event = heap_.pop();
    now_ = event.time;
    if (++out_.events == set_.most_events) throw std::length_error("more events than allowed");
    if (out_.events % kLookUp == 0 && set_.look_up) set_.look_up();
    const int who = static_cast<int>(event.who());
    switch (event.kind()) {
      case kStart: players_.begin(who); break;
      case kComputed: players_.computed(who); break;
      case kDrained:
        if (const auto arrival = transfers_->drained(event)) heap_.push(Event::make(*arrival, kDelivered, who));
        break;
      default: players_.delivered(who); break;
    }
    if (heap_.empty() && transfers_ && transfers_->changed()) transfers_->settle(now_, heap_);
  }

  bool overtake() {
    const bool any = players_.overtake();
    if (transfers_ && transfers_->changed()) transfers_->settle(now_, heap_);
    return any;
  }

  void carry(int rank, const Letter& letter, double size) {
    const std::int64_t pair = set_.terms.folded ? letter.pair : play_.pair(rank, letter.pair);
    pair_bytes_[pair] += size;
    ++out_.messages;
    const auto shared = routing_.shared(pair);
    if (shared.empty() || size == 0) {
      heap_.push(Event::make(now_ + (routing_.latency(pair) + size / routing_.limit(pair)), kDelivered, rank));
    } else {
      transfers_->start(rank, shared, size, routing_.limit(pair), routing_.latency(pair), now_);
    }
  }

  const Play& play_;
  const Setting& set_;
  const Routing routing_;
  double now_ = 0;
  Heap heap_;
  std::optional<Transfers> transfers_;  // numbered by sender
  Players<Wire> players_;
  std::vector<double> pair_bytes_;
  Outcome out_;
};

}  // namespace

Outcome run(const Play& play, const Setting& setting) { return Run(play, setting).run(); }

}  // namespace pyccl::sim
