// Lowering for staging areas and messages; see docs/design.md, "Compile: rounds".
#include <algorithm>

#include "engine/matching.h"
#include "engine/program.h"

namespace pyccl {
namespace {

/// Slot numbers of every rank's sends: a chunk unchanged since its last publication keeps its slot.
struct Slots {
  std::vector<std::vector<int>> of_step;  // [rank][step], -1 when nobody on the node receives it
  int most = 0;
};

Slots assign_slots(const Schedule& s, const std::vector<int>& nodes) {
  Slots slots;
  slots.of_step.resize(s.size);
  std::vector<int> current;
  for (int r = 0; r < s.size; ++r) {
    current.assign(s.nchunks, -1);
    int next = 0;
    for (const Step& step : s.ranks[r]) {
      int slot = -1;
      if (step.kind != StepKind::Send) {
        current[step.chunk] = -1;
      } else if (std::any_of(step.peers.begin(), step.peers.end(), [&](int q) { return nodes[q] == nodes[r]; })) {
        if (current[step.chunk] < 0) current[step.chunk] = next++;
        slot = current[step.chunk];
      }
      slots.of_step[r].push_back(slot);
    }
    slots.most = std::max(slots.most, next);
  }
  return slots;
}

/// A matching, and its rounds grouped in phases.
struct Cut {
  Matching matching;
  std::vector<int> phase;  // by round
  std::vector<Phase> phases;
};

Cut cut_phases(const Schedule& s, const std::vector<int>& nodes, Matching matching) {
  const auto rounds = static_cast<std::size_t>(std::max(matching.rounds, 1));
  const auto for_each_message = [&](const auto& visit) {
    for (int r = 0; r < s.size; ++r) {
      for (std::size_t i = 0; i < s.ranks[r].size(); ++i) {
        const auto& senders = matching.sender_step[r][i];  // of receives only
        for (std::size_t j = 0; j < senders.size(); ++j) {
          const int peer = s.ranks[r][i].peers[j];
          visit(nodes[peer] == nodes[r], matching.round[peer][senders[j]], matching.round[r][i]);
        }
      }
    }
  };
  Cut cut;
  std::vector<char> meets(rounds, 0);
  for_each_message([&](bool local, int, int received) { meets[received] |= local; });
  cut.phase.assign(rounds, 0);
  for (std::size_t k = 1; k < rounds; ++k) cut.phase[k] = cut.phase[k - 1] + (meets[k] != meets[k - 1]);
  bool whole = false;  // a message that is received in a later phase than it is sent would be waited for in vain
  for_each_message([&](bool, int sent, int received) { whole |= cut.phase[sent] != cut.phase[received]; });
  if (whole) cut.phase.assign(rounds, 0);
  for (std::size_t k = 0; k < rounds; ++k) {
    const int at = static_cast<int>(k);
    if (k == 0 || cut.phase[k] != cut.phase[k - 1]) cut.phases.push_back({at, at, false});
    cut.phases.back().end = at + 1;
    cut.phases.back().meets |= meets[k] != 0;
  }
  cut.matching = std::move(matching);
  return cut;
}

/// A schedule by levels - within nodes, between them, within - becomes as many phases. One that mixes them in every
/// round would become a phase per round: it runs round by round, slice by slice.
Cut cut_phases(const Schedule& s, const std::vector<int>& nodes) {
  constexpr std::size_t kMostPhases = 4;
  Cut by_level = cut_phases(s, nodes, match_by_level(s, nodes));
  return by_level.phases.size() <= kMostPhases ? by_level : cut_phases(s, nodes, match(s));
}

class Lowering {
 public:
  Lowering(const Schedule& s, int rank, const std::vector<int>& nodes, Cut cut)
      : s_(s), me_(rank), nodes_(nodes), matching_(std::move(cut.matching)), phase_(std::move(cut.phase)),
        slots_(assign_slots(s, nodes)) {
    program_.collective = s.collective;
    program_.nchunks = s.nchunks;
    program_.slots = slots_.most;
    program_.phases = std::move(cut.phases);
    program_.rounds.resize(std::max(matching_.rounds, 1));
    home_.assign(s.nchunks, Place{me_, Where::Input, 0});
    for (int c = 0; c < s.nchunks; ++c) home_[c].index = c;
    written_.assign(s.nchunks, 0);
    touched_.assign(s.nchunks, -1);
    last_reduce_.assign(s.nchunks, {-1, 0});
    published_.assign(static_cast<std::size_t>(std::max(slots_.most, 1)), -1);
  }

  Program run() {
    for (std::size_t i = 0; i < s_.ranks[me_].size(); ++i) lower(s_.ranks[me_][i], i);
    copy_untouched_outputs();
    mark_meetings();
    return std::move(program_);
  }

 private:
  bool local(int peer) const { return nodes_[peer] == nodes_[me_]; }
  Place scratch() { return {me_, Where::Scratch, program_.scratch++}; }

  void lower(const Step& step, std::size_t index) {
    const int k = matching_.round[me_][index];
    switch (step.kind) {
      case StepKind::Send: send(step, index, k); break;
      case StepKind::Recv: receive(step, index, k); break;
      case StepKind::RecvReduce: receive_reduce(step, index, k); break;
      default: combine_locally(step, index, k); break;
    }
    touched_[step.chunk] = k;
  }

  void send(const Step& step, std::size_t index, int k) {
    const Place from = home_[step.chunk];
    const int slot = slots_.of_step[me_][index];
    if (slot >= 0 && published_[slot] != phase_[k]) {
      published_[slot] = phase_[k];
      const Place to{me_, Where::Slot, slot};
      const auto [round, pass] = last_reduce_[step.chunk];
      if (round >= 0 && phase_[round] == phase_[k])
        program_.rounds[round].after[pass].dests.push_back(to);  // written in the reducing pass
      else program_.rounds[k].before.push_back({step.chunk, false, false, {from}, {to}});
    }
    for (int peer : step.peers) {
      if (!local(peer)) program_.rounds[k].sends.push_back({peer, step.chunk, from});
    }
  }

  /// Where a write to this chunk goes, and from then on where it is read.
  Place write_place(int chunk) {
    if (!written_[chunk]) {
      written_[chunk] = 1;
      home_[chunk] = holds_finally(s_, me_, chunk) ? Place{me_, Where::Output, chunk} : scratch();
    }
    last_reduce_[chunk] = {-1, 0};
    return home_[chunk];
  }

  Place slot_of(const Step& step, std::size_t index, std::size_t i) const {
    const int peer = step.peers[i];
    return {peer, Where::Slot, slots_.of_step[peer][matching_.sender_step[me_][index][i]]};
  }

  void receive(const Step& step, std::size_t index, int k) {
    Round& round = program_.rounds[k];
    const bool busy = touched_[step.chunk] == k;  // something in this round still needs the old bytes
    const Place to = write_place(step.chunk);
    if (local(step.peers[0])) {
      round.after.push_back({step.chunk, false, false, {slot_of(step, index, 0)}, {to}});
    } else if (busy) {
      const Place landing = scratch();
      round.recvs.push_back({step.peers[0], step.chunk, landing});
      round.after.push_back({step.chunk, false, false, {landing}, {to}});
    } else {
      round.recvs.push_back({step.peers[0], step.chunk, to});
    }
  }

  void receive_reduce(const Step& step, std::size_t index, int k) {
    Round& round = program_.rounds[k];
    const Place own = home_[step.chunk];
    std::vector<std::pair<int, Place>> parts;  // (rank, where), to be folded in rank order
    for (std::size_t i = 0; i < step.peers.size(); ++i) {
      const int peer = step.peers[i];
      if (local(peer)) {
        parts.push_back({peer, slot_of(step, index, i)});
      } else {
        parts.push_back({peer, scratch()});
        round.recvs.push_back({peer, step.chunk, parts.back().second});
      }
    }
    const bool extends = extends_last_pass(step, k);
    const Place to = write_place(step.chunk);
    if (extends) {  // another rank behind those already in the fold: one pass over memory instead of two
      Pass& pass = round.after.back();
      for (auto& part : parts) pass.sources.push_back(part.second);
      pass.completes = matching_.completes[me_][index];
    } else {
      parts.push_back({me_, own});
      std::sort(parts.begin(), parts.end(), [](auto& a, auto& b) { return a.first < b.first; });
      Pass pass{step.chunk, true, static_cast<bool>(matching_.completes[me_][index]), {}, {to}};
      for (auto& part : parts) pass.sources.push_back(part.second);
      round.after.push_back(std::move(pass));
    }
    fold_top_ = std::max(step.peers.back(), extends ? fold_top_ : me_);
    fold_chunk_ = step.chunk;
    last_reduce_[step.chunk] = {k, round.after.size() - 1};
  }

  /// True when the step before this one, in this round, folded lower ranks only into the same chunk.
  bool extends_last_pass(const Step& step, int k) const {
    const auto [round, pass] = last_reduce_[step.chunk];
    return round == k && fold_chunk_ == step.chunk && pass + 1 == program_.rounds[k].after.size() &&
           step.peers.front() > fold_top_;
  }

  void combine_locally(const Step& step, std::size_t index, int k) {
    const Place source = home_[step.source_chunk], own = home_[step.chunk];
    const bool reduce = step.kind == StepKind::Reduce;
    const Place to = write_place(step.chunk);
    Pass pass{step.chunk, reduce, static_cast<bool>(matching_.completes[me_][index]), {}, {to}};
    if (reduce) pass.sources.push_back(own);
    pass.sources.push_back(source);
    program_.rounds[k].after.push_back(std::move(pass));
    touched_[step.source_chunk] = k;
    fold_chunk_ = -1;
  }

  void copy_untouched_outputs() {
    for (int c = 0; c < s_.nchunks; ++c) {
      if (written_[c] || !holds_finally(s_, me_, c) || !holds_initially(s_, me_, c)) continue;
      program_.rounds.back().after.push_back({c, false, false, {{me_, Where::Input, c}}, {{me_, Where::Output, c}}});
    }
  }

  /// A round is a meeting on this node as soon as one of its ranks receives from another one of them.
  void mark_meetings() {
    bool shared = false;
    for (int r = 0; r < s_.size; ++r) {
      if (nodes_[r] != nodes_[me_]) continue;
      shared |= r != me_;
      for (std::size_t i = 0; i < s_.ranks[r].size(); ++i) {
        const Step& step = s_.ranks[r][i];
        if (step.kind != StepKind::Recv && step.kind != StepKind::RecvReduce) continue;
        for (int peer : step.peers) {
          if (nodes_[peer] == nodes_[r]) program_.rounds[matching_.round[r][i]].meet = true;
        }
      }
    }
    const auto& rounds = program_.rounds;
    if (shared && std::none_of(rounds.begin(), rounds.end(), [](const Round& r) { return r.meet; })) {
      program_.rounds[0].meet = true;
    }
    program_.meets = shared;
    std::vector<int> distinct = nodes_;
    std::sort(distinct.begin(), distinct.end());
    distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
    program_.spans_nodes = distinct.size() > 1;
    program_.any_meets = distinct.size() < nodes_.size();
  }

  const Schedule& s_;
  const int me_;
  const std::vector<int>& nodes_;
  const Matching matching_;
  const std::vector<int> phase_;  // by round
  const Slots slots_;
  Program program_;
  std::vector<Place> home_;
  std::vector<char> written_;
  std::vector<int> touched_;                              // the round of the last read or write
  std::vector<std::pair<int, std::size_t>> last_reduce_;  // the pass that wrote the chunk, if it was a reduction
  std::vector<int> published_;                            // by slot: in which phase, or -1
  int fold_top_ = -1, fold_chunk_ = -1;
};

}  // namespace

Program compile(const Schedule& schedule, int rank, const std::vector<int>& nodes) {
  return Lowering(schedule, rank, nodes, cut_phases(schedule, nodes)).run();
}

}  // namespace pyccl
