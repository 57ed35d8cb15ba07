#include "engine/matching.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace pyccl {
namespace {

struct Issued {
  int step;
  int contributions;
};

/// First in, first out, per ordered pair of ranks.
struct Channel {
  std::vector<Issued> sent;
  std::size_t taken = 0;
  bool pending() const { return taken < sent.size(); }
};

class Walk {
 public:
  Walk(const Schedule& s, const std::vector<int>* nodes)
      : s_(s), nodes_(nodes), p_(s.size), position_(p_, 0), channels_(static_cast<std::size_t>(p_) * p_),
        held_(p_, std::vector<int>(s.nchunks)), written_(p_, std::vector<int>(s.nchunks, -1)) {
    out_.round.resize(p_);
    out_.sender_step.resize(p_);
    out_.completes.resize(p_);
    for (int r = 0; r < p_; ++r) {
      const auto steps = s.ranks[r].size();
      out_.round[r].assign(steps, -1);
      out_.sender_step[r].resize(steps);
      out_.completes[r].assign(steps, 0);
      for (int c = 0; c < s.nchunks; ++c) held_[r][c] = holds_initially(s, r, c) ? 1 : 0;
    }
  }

  Matching run() {
    for (out_.rounds = 0; !finished(); ++out_.rounds) {
      bool any = advance_all();
      if (!any && nodes_) {
        within_ = !within_;
        any = advance_all();
      }
      if (!any) deadlock();
    }
    for (int src = 0; src < p_; ++src) {
      for (int dst = 0; dst < p_; ++dst) {
        if (channel(src, dst).pending()) fail(src, "sends to rank " + std::to_string(dst) + " what is never received");
      }
    }
    return std::move(out_);
  }

 private:
  Channel& channel(int src, int dst) { return channels_[static_cast<std::size_t>(src) * p_ + dst]; }

  [[noreturn]] void fail(int rank, const std::string& what) const {
    throw std::invalid_argument("schedule: rank " + std::to_string(rank) + " " + what);
  }

  bool finished() const {
    for (int r = 0; r < p_; ++r) {
      if (position_[r] < s_.ranks[r].size()) return false;
    }
    return true;
  }

  [[noreturn]] void deadlock() const {
    std::string text = "schedule deadlocks:";
    for (int r = 0; r < p_; ++r) {
      if (position_[r] == s_.ranks[r].size()) continue;
      text += " rank " + std::to_string(r) + " waits at step " + std::to_string(position_[r]) + ";";
    }
    throw std::invalid_argument(text);
  }

  bool advance_all() {
    bool any = false;
    for (bool moved = true; moved;) {
      moved = false;
      for (int r = 0; r < p_; ++r) moved |= advance(r);
      any |= moved;
    }
    return any;
  }

  /// Whether a round of the present kind may have this step. One with peers of both kinds needs the node's meeting.
  bool fits(int r, const Step& step) const {
    if (!nodes_ || step.peers.empty()) return true;
    return within_ == std::ranges::any_of(step.peers, [&](int q) { return (*nodes_)[q] == (*nodes_)[r]; });
  }

  bool advance(int r) {
    bool moved = false;
    const auto& steps = s_.ranks[r];
    while (position_[r] < steps.size() && fits(r, steps[position_[r]]) && take(r, position_[r])) {
      out_.round[r][position_[r]++] = out_.rounds;
      moved = true;
    }
    return moved;
  }

  bool take(int r, std::size_t index) {
    const Step& step = s_.ranks[r][index];
    switch (step.kind) {
      case StepKind::Send: return send(r, step, static_cast<int>(index));
      case StepKind::Recv:
      case StepKind::RecvReduce: return receive(r, step, index);
      default: return local(r, step, index);
    }
  }

  bool send(int r, const Step& step, int index) {
    if (written_[r][step.chunk] == out_.rounds) return false;
    if (held_[r][step.chunk] == 0) fail(r, "sends chunk " + std::to_string(step.chunk) + ", which it does not hold");
    for (int peer : step.peers) channel(r, peer).sent.push_back({index, held_[r][step.chunk]});
    return true;
  }

  bool receive(int r, const Step& step, std::size_t index) {
    for (int peer : step.peers) {
      if (!channel(peer, r).pending()) return false;
    }
    int& held = held_[r][step.chunk];
    if (step.kind == StepKind::Recv) held = 0;
    for (int peer : step.peers) {
      Channel& from = channel(peer, r);
      const Issued message = from.sent[from.taken++];
      if (s_.ranks[peer][message.step].chunk != step.chunk)
        fail(r, "receives another chunk than rank " + std::to_string(peer) + " sends");
      held += message.contributions;
      out_.sender_step[r][index].push_back(message.step);
    }
    note_write(r, step, index);
    return true;
  }

  bool local(int r, const Step& step, std::size_t index) {
    const int source = held_[r][step.source_chunk];
    if (source == 0) fail(r, "copies a chunk that it does not hold");
    int& held = held_[r][step.chunk];
    held = step.kind == StepKind::Copy ? source : held + source;
    note_write(r, step, index);
    return true;
  }

  void note_write(int r, const Step& step, std::size_t index) {
    written_[r][step.chunk] = out_.rounds;
    const bool combines = step.kind == StepKind::RecvReduce || step.kind == StepKind::Reduce;
    out_.completes[r][index] = combines && held_[r][step.chunk] == p_;
  }

  const Schedule& s_;
  const std::vector<int>* nodes_;  // null: one kind of rounds
  bool within_ = true;             // the kind of this round
  const int p_;
  std::vector<std::size_t> position_;
  std::vector<Channel> channels_;
  std::vector<std::vector<int>> held_;     // contributions in [rank][chunk]; 0 means not held
  std::vector<std::vector<int>> written_;  // the round of the last write
  Matching out_;
};

}  // namespace

Matching match(const Schedule& schedule) { return Walk(schedule, nullptr).run(); }

Matching match_by_level(const Schedule& schedule, const std::vector<int>& nodes) {
  return Walk(schedule, &nodes).run();
}

}  // namespace pyccl
