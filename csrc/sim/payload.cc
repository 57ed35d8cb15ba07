#include "sim/payload.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <utility>

#include "engine/program.h"

namespace pyccl::sim {
namespace {

using Bytes = std::vector<char>;

struct Rank {
  Program program;
  std::vector<std::int64_t> input_offsets, output_offsets;  // bytes, by chunk
  std::vector<Bytes> scratch, slots;
};

class Payload {
 public:
  Payload(const Schedule& s, const std::vector<int>& nodes, const kernels::Reduction& how, std::int64_t divisor,
          const std::vector<std::int64_t>& counts, const std::vector<const char*>& inputs,
          const std::vector<char*>& outputs)
      : how_(how), divisor_(divisor), counts_(counts), inputs_(inputs), outputs_(outputs) {
    const auto item = static_cast<std::int64_t>(item_size(how.dtype));
    const std::int64_t largest = counts.empty() ? 0 : *std::ranges::max_element(counts);
    item_ = item;
    for (int r = 0; r < s.size; ++r) {
      Rank rank{compile(s, r, nodes), {}, {}, {}, {}};
      std::int64_t in = 0, out = 0;
      for (int c = 0; c < s.nchunks; ++c) {
        rank.input_offsets.push_back(in);
        rank.output_offsets.push_back(out);
        if (holds_initially(s, r, c)) in += counts[c] * item;
        if (holds_finally(s, r, c)) out += counts[c] * item;
      }
      const Bytes piece(static_cast<std::size_t>(largest * item));
      rank.scratch.assign(static_cast<std::size_t>(rank.program.scratch), piece);
      rank.slots.assign(static_cast<std::size_t>(rank.program.slots), piece);
      ranks_.push_back(std::move(rank));
    }
  }

  bool run() {
    const std::size_t rounds = ranks_.front().program.rounds.size();
    for (std::size_t k = 0; k < rounds; ++k) {
      each(k, [&](int r, const Round& round) {
        for (const Pass& pass : round.before) execute(r, pass);
        for (const Message& m : round.sends) {
          const char* from = resolve(r, m.place);
          mail_[{r, m.peer}].emplace_back(from, from + bytes(m.chunk));
        }
      });
      each(k, [&](int r, const Round& round) {
        for (const Message& m : round.recvs) {
          auto& mail = mail_[{m.peer, r}];
          std::memcpy(resolve(r, m.place), mail.front().data(), mail.front().size());
          mail.pop_front();
        }
        for (const Pass& pass : round.after) execute(r, pass);
      });
    }
    return !failed_;
  }

 private:
  template <class Visit> void each(std::size_t round, Visit&& visit) {
    for (std::size_t r = 0; r < ranks_.size(); ++r) visit(static_cast<int>(r), ranks_[r].program.rounds[round]);
  }

  std::int64_t bytes(int chunk) const { return counts_[chunk] * item_; }

  char* resolve(int me, const Place& place) {
    Rank& rank = ranks_[me];
    switch (place.where) {
      case Where::Input: return const_cast<char*>(inputs_[me]) + rank.input_offsets[place.index];
      case Where::Output: return outputs_[me] + rank.output_offsets[place.index];
      case Where::Scratch: return rank.scratch[place.index].data();
      case Where::Slot: break;
    }
    return ranks_[place.rank].slots[place.index].data();
  }

  void execute(int me, const Pass& pass) {
    const std::int64_t count = counts_[pass.chunk];
    if (count == 0) return;
    std::vector<const void*> sources;
    std::vector<void*> dests;
    for (const Place& place : pass.sources) sources.push_back(resolve(me, place));
    for (const Place& place : pass.dests) dests.push_back(resolve(me, place));
    if (!pass.reduce) {
      for (void* to : dests) kernels::copy(to, sources[0], count * item_);
      return;
    }
    failed_ |= kernels::reduce(how_, sources.data(), static_cast<int>(sources.size()), dests.data(),
                               static_cast<int>(dests.size()), count, pass.completes ? divisor_ : 1) != 0;
  }

  const kernels::Reduction& how_;
  const std::int64_t divisor_;
  const std::vector<std::int64_t>& counts_;
  const std::vector<const char*>& inputs_;
  const std::vector<char*>& outputs_;
  std::int64_t item_ = 1;
  std::vector<Rank> ranks_;
  std::map<std::pair<int, int>, std::deque<Bytes>> mail_;
  bool failed_ = false;
};

}  // namespace

bool run_payload(const Schedule& schedule, const std::vector<int>& nodes, const kernels::Reduction& how,
                 std::int64_t divisor, const std::vector<std::int64_t>& counts, const std::vector<const char*>& inputs,
                 const std::vector<char*>& outputs) {
  return Payload(schedule, nodes, how, divisor, counts, inputs, outputs).run();
}

}  // namespace pyccl::sim
