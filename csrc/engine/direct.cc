// Lowering for registered arrays: peers' inputs are read and their outputs written in place, without staging.
//
// A plain receive becomes a write by the sender, a reducing receive a read by the receiver. A reduction whose result
// is sent on next writes all destinations in the same pass. Ranks run the passes of one round side by side, so no
// location may be written by one rank and touched by another in the same round; where a schedule does
// that, there is no direct program and staging is used.
#include <algorithm>
#include <map>

#include "engine/matching.h"
#include "engine/program.h"

namespace pyccl {
namespace {

class DirectLowering {
 public:
  DirectLowering(const Schedule& s, int rank, Access access, bool fuse)
      : s_(s), me_(rank), access_(access), fuse_(fuse), matching_(match(s)) {
    rounds_.resize(std::max(matching_.rounds, 1));
    used_.resize(rounds_.size());
    busy_.assign(rounds_.size(), 0);
    // what was received by writing: [rank][step] of every plain receive's message, by its sender
    receiver_kind_.resize(s.size);
    for (int r = 0; r < s.size; ++r) receiver_kind_[r].assign(s.ranks[r].size(), 0);
  }

  bool run(Program& program) {
    if (!classify_sends()) return false;
    for (int r = 0; r < s_.size; ++r) {
      if (!lower_rank(r)) return false;
    }
    if (conflict_) return false;
    program = Program{};
    program.collective = s_.collective;
    program.nchunks = s_.nchunks;
    program.direct = program.meets = true;
    for (std::size_t k = 0; k < rounds_.size(); ++k) {
      if (!busy_[k]) continue;  // the same rounds on every rank
      rounds_[k].meet = true;
      program.rounds.push_back(std::move(rounds_[k]));
    }
    if (program.rounds.empty()) program.rounds.push_back({{}, {}, {}, true, {}});
    return true;
  }

 private:
  enum : char { kPushed = 1, kPulled = 2 };

  /// All receivers of one send must take it the same way.
  bool classify_sends() {
    for (int r = 0; r < s_.size; ++r) {
      for (std::size_t i = 0; i < s_.ranks[r].size(); ++i) {
        const Step& step = s_.ranks[r][i];
        if (step.kind == StepKind::Copy || step.kind == StepKind::Reduce) return false;
        if (step.kind == StepKind::Send) continue;
        for (std::size_t j = 0; j < step.peers.size(); ++j) {
          const int sent = matching_.sender_step[r][i][j];
          if (matching_.round[step.peers[j]][sent] != matching_.round[r][i]) return false;  // must outlive its round
          char& kind = receiver_kind_[step.peers[j]][sent];
          kind = static_cast<char>(kind | (step.kind == StepKind::Recv ? kPushed : kPulled));
        }
        const bool ok =
            step.kind == StepKind::Recv ? access_.output_registered && holds_finally(s_, r, step.chunk) : true;
        if (!ok) return false;
      }
    }
    for (auto& kinds : receiver_kind_) {
      if (std::any_of(kinds.begin(), kinds.end(), [](char k) { return k == (kPushed | kPulled); })) return false;
    }
    return true;
  }

  bool registered(Place place) const {
    return place.where == Where::Input ? access_.input_registered
                                       : place.where == Where::Output && access_.output_registered;
  }

  /// Marks what `actor` reads or writes in a round; two ranks meet in one location only if both read.
  void use(int round, int actor, int owner, int chunk, bool write) {
    auto [it, fresh] = used_[round].try_emplace({owner, chunk}, Use{actor, write, false});
    if (fresh) return;
    Use& u = it->second;
    const bool other = u.shared || u.actor != actor;
    if (other && (write || u.written)) conflict_ = true;
    u.shared |= u.actor != actor;
    u.written |= write;
  }

  void add(int rank, int round, Pass pass) {
    busy_[round] = 1;
    for (const Place& p : pass.sources) use(round, rank, p.rank, p.index, false);
    for (const Place& p : pass.dests) use(round, rank, p.rank, p.index, true);
    if (rank == me_) rounds_[round].after.push_back(std::move(pass));
  }

  bool lower_rank(int r) {
    std::vector<char> written(s_.nchunks, 0);
    auto home = [&](int chunk) { return Place{r, written[chunk] ? Where::Output : Where::Input, chunk}; };
    std::vector<char> fused(s_.ranks[r].size(), 0);
    for (std::size_t i = 0; i < s_.ranks[r].size(); ++i) {
      const Step& step = s_.ranks[r][i];
      const int k = matching_.round[r][i];
      if (step.kind == StepKind::Recv) {
        written[step.chunk] = 1;  // by the sender
      } else if (step.kind == StepKind::Send) {
        if (fused[i] || receiver_kind_[r][i] == kPulled) continue;
        Pass push{step.chunk, false, false, {home(step.chunk)}, {}};
        for (int peer : step.peers) push.dests.push_back({peer, Where::Output, step.chunk});
        add(r, k, std::move(push));
      } else {
        if (!pull(r, i, written, fused)) return false;
      }
    }
    for (int c = 0; c < s_.nchunks; ++c) {
      if (written[c] || !holds_finally(s_, r, c) || !holds_initially(s_, r, c)) continue;
      add(r, static_cast<int>(rounds_.size()) - 1, {c, false, false, {home(c)}, {{r, Where::Output, c}}});
    }
    return true;
  }

  bool pull(int r, std::size_t i, std::vector<char>& written, std::vector<char>& fused) {
    const Step& step = s_.ranks[r][i];
    if (!holds_finally(s_, r, step.chunk)) return false;  // a partial sum without a home
    std::vector<std::pair<int, Place>> parts{{r, {r, written[step.chunk] ? Where::Output : Where::Input, step.chunk}}};
    for (std::size_t j = 0; j < step.peers.size(); ++j) {
      const int peer = step.peers[j];
      const Place from = sent_from(peer, matching_.sender_step[r][i][j]);
      if (!registered(from)) return false;
      parts.push_back({peer, from});
    }
    std::sort(parts.begin(), parts.end(), [](auto& a, auto& b) { return a.first < b.first; });
    Pass pass{step.chunk, true, static_cast<bool>(matching_.completes[r][i]), {}, {{r, Where::Output, step.chunk}}};
    for (auto& part : parts) pass.sources.push_back(part.second);
    written[step.chunk] = 1;
    for (std::size_t j = i + 1; fuse_ && j < s_.ranks[r].size(); ++j) {
      const Step& next = s_.ranks[r][j];
      if (next.chunk != step.chunk) continue;
      if (next.kind != StepKind::Send || receiver_kind_[r][j] != kPushed) break;
      fused[j] = 1;
      for (int peer : next.peers) {
        pass.dests.push_back({peer, Where::Output, step.chunk});
        // written early: nobody may want the old bytes until the round in which the schedule delivers
        for (int k = matching_.round[r][i] + 1; k <= matching_.round[r][j]; ++k) use(k, r, peer, step.chunk, true);
      }
    }
    add(r, matching_.round[r][i], std::move(pass));
    return true;
  }

  /// Where the chunk lay at its owner when step `index` sent it.
  Place sent_from(int rank, int index) const {
    const int chunk = s_.ranks[rank][index].chunk;
    for (int i = 0; i < index; ++i) {
      const Step& step = s_.ranks[rank][i];
      if (step.kind == StepKind::Send || step.chunk != chunk) continue;
      return {rank, holds_finally(s_, rank, chunk) ? Where::Output : Where::Scratch, chunk};
    }
    return {rank, Where::Input, chunk};
  }

  struct Use {
    int actor;
    bool written;
    bool shared;
  };

  const Schedule& s_;
  const int me_;
  const Access access_;
  const bool fuse_;
  const Matching matching_;
  std::vector<Round> rounds_;
  std::vector<std::map<std::pair<int, int>, Use>> used_;  // per round: (owner, chunk); input and output may coincide
  std::vector<char> busy_;
  std::vector<std::vector<char>> receiver_kind_;
  bool conflict_ = false;
};

}  // namespace

bool compile_direct(const Schedule& schedule, int rank, Access access, Program& program) {
  return DirectLowering(schedule, rank, access, true).run(program) ||
         DirectLowering(schedule, rank, access, false).run(program);
}

}  // namespace pyccl
