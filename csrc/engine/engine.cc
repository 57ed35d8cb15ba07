#include "engine/engine.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <stdexcept>

#include "core/buffer.h"
#include "core/error.h"
#include "engine/backoff.h"
#include "engine/segment.h"

namespace pyccl {
namespace {

constexpr std::int64_t kCopyBlock = 16 << 10;  // stays in L1 while it is written to several places

}  // namespace

void Scratch::Free::operator()(void* p) const { std::free(p); }

char* Scratch::reserve(std::int64_t bytes) {
  if (bytes > capacity_) {
    const std::int64_t wanted = round_up(bytes, bytes >= (1 << 21) ? (1 << 21) : 4096);
    void* p = std::aligned_alloc(static_cast<std::size_t>(wanted >= (1 << 21) ? (1 << 21) : 4096),
                                 static_cast<std::size_t>(wanted));
    if (p == nullptr) throw std::bad_alloc();
    if (wanted >= (1 << 21)) madvise(p, static_cast<std::size_t>(wanted), MADV_HUGEPAGE);
    memory_.reset(static_cast<char*>(p));
    capacity_ = wanted;
  }
  return memory_.get();
}

char* Engine::resolve(const Segment& s, const Place& place) const {
  const auto bytes = [&](std::int64_t elements) { return elements * s.item; };
  switch (place.where) {
    case Where::Input: {
      const char* base = place.rank == rank_ ? s.binding.input : (*s.binding.peer_inputs)[place.rank];
      return const_cast<char*>(base) + bytes(s.binding.layout->input_offsets[place.index] + s.begin);
    }
    case Where::Output: {
      char* base = place.rank == rank_ ? s.binding.output : (*s.binding.peer_outputs)[place.rank];
      return base + bytes(s.binding.layout->output_offsets[place.index] + s.begin);
    }
    case Where::Scratch: return s.scratch + place.index * s.stride + bytes(s.skip);
    case Where::Slot: break;
  }
  char* base = s.inline_slots ? local_->inline_staging(place.rank, s.half) : local_->staging(place.rank, s.half);
  return base + place.index * round_up(bytes(s.unit), kLine);
}

void Engine::execute(const Segment& s, const Pass& pass) {
  const std::int64_t count = s.count(pass.chunk);
  if (count == 0) return;
  constexpr std::size_t kFew = 64;
  void* few[2 * kFew];
  std::vector<void*> many;
  const std::size_t nsources = pass.sources.size(), ndests = pass.dests.size();
  const bool stream =
      s.binding.stream && std::ranges::all_of(pass.dests, [](const Place& to) { return to.where == Where::Output; });
  void** pointers = few;
  if (nsources + ndests > 2 * kFew) {
    many.resize(nsources + ndests);
    pointers = many.data();
  }
  for (std::size_t i = 0; i < nsources; ++i) pointers[i] = resolve(s, pass.sources[i]);
  void** dests = pointers + nsources;
  for (std::size_t i = 0; i < ndests; ++i) dests[i] = resolve(s, pass.dests[i]);
  if (pass.reduce) {
    const std::int64_t divisor = pass.completes ? s.binding.divisor : 1;
    if (kernels::reduce(s.binding.how, const_cast<const void* const*>(pointers), static_cast<int>(nsources), dests,
                        static_cast<int>(ndests), count, divisor, stream)) {
      user_failed_ = true;
    }
    return;
  }
  const std::int64_t total = count * s.item, block = ndests == 1 ? total : kCopyBlock;
  for (std::int64_t at = 0; at < total; at += block) {
    for (std::size_t i = 0; i < ndests; ++i) {
      char* to = static_cast<char*>(dests[i]) + at;
      const char* from = static_cast<const char*>(pointers[0]) + at;
      if (to != from) kernels::copy(to, from, std::min(block, total - at), stream);
    }
  }
}

void Engine::post(const Segment& s, const Round& round, Pending& sends, Pending& recvs) {
  for (const Message& m : round.recvs) {
    const std::int64_t bytes = s.count(m.chunk) * s.item;
    if (bytes > 0) recvs.recv(resolve(s, m.place), bytes, m.peer, s.tag);
  }
  for (const Message& m : round.sends) {
    const std::int64_t bytes = s.count(m.chunk) * s.item;
    if (bytes > 0) sends.send(resolve(s, m.place), bytes, m.peer, s.tag);
  }
}

// A large message leaves only when its receiver has come to it, perhaps some rounds later, and those may need what this
// rank sends next: sends are not waited for at the end of their round, but before their memory is written again.

/// Who does not send is missing; who does not receive is, where nothing is to come.
void Engine::give_up(const std::vector<const Pending*>& recvs, const std::vector<const Pending*>& sends) {
  std::vector<int> ranks;
  for (const Pending* p : recvs) p->add_peers(ranks);
  if (ranks.empty()) {
    for (const Pending* p : sends) p->add_peers(ranks);
  }
  std::sort(ranks.begin(), ranks.end());
  throw Unheard(std::move(ranks));
}

bool Engine::lands_on(const Segment& s, const Round& round, const Pending& sends) const {
  return !sends.empty() && std::any_of(round.recvs.begin(), round.recvs.end(), [&](const Message& m) {
    return sends.uses(resolve(s, m.place), s.count(m.chunk) * s.item);
  });
}

bool Engine::writes_on(const Segment& s, const Round& round, const Pending& sends) const {
  return !sends.empty() && std::any_of(round.after.begin(), round.after.end(), [&](const Pass& pass) {
    return std::any_of(pass.dests.begin(), pass.dests.end(),
                       [&](const Place& place) { return sends.uses(resolve(s, place), s.count(pass.chunk) * s.item); });
  });
}

bool Engine::run_segment(const Segment& s, const Deadline& deadline, const Check* check, bool entered) {
  Pending sends(remote_), recvs(remote_);
  const auto finish = [&](const auto& busy) {
    for (Backoff backoff(deadline); busy();) {
      const bool moved = sends.test() | recvs.test();
      if (moved) backoff.progressed();
      else backoff.idle([&] { give_up({&recvs}, {&sends}); });
    }
  };
  for (const Round& round : s.rounds()) {
    finish([&] { return lands_on(s, round, sends); });
    for (const Pass& pass : round.before) execute(s, pass);
    post(s, round, sends, recvs);
    if (round.meet && !entered) local_->meet(deadline);
    if (round.meet) {
      entered = false;
      if (check && !(*check)()) return false;
      check = nullptr;
    }
    finish([&] { return !recvs.empty() || writes_on(s, round, sends); });
    for (const Pass& pass : round.after) execute(s, pass);
  }
  finish([&] { return !sends.empty(); });
  return true;
}

bool Engine::run(const Program& program, const Binding& b, const Deadline& deadline, const Check& check, bool entered,
                 int tag) {
  const auto item = static_cast<std::int64_t>(item_size(b.how.dtype));
  const std::int64_t largest = std::max<std::int64_t>(b.layout->largest, 1);
  if (program.spans_nodes) {
    run_phases(program, b, deadline, tag);
    return true;
  }
  std::int64_t unit = largest;
  bool inline_slots = false;
  if (!program.direct && local_) {
    unit = std::min(largest, slot_room(program, local_->staging_bytes()) / item);
    inline_slots = std::max(program.slots, 1) * round_up(unit * item, kLine) <= local_->inline_bytes();
  }
  const std::int64_t segments = (largest + unit - 1) / unit;
  const std::int64_t first = local_ ? local_->claim_segments(segments) : 0;
  Segment segment{program, b, unit, item, inline_slots};
  segment.end = static_cast<int>(program.rounds.size());
  segment.length = unit;
  segment.stride = round_up(unit * item, kLine);
  if (program.scratch > 0) segment.scratch = scratch_.reserve(program.scratch * segment.stride);
  const Check* const checks = check ? &check : nullptr;
  for (std::int64_t i = 0; i < segments; ++i) {
    segment.begin = i * unit;
    segment.half = static_cast<unsigned>((first + i) & 1);
    if (!run_segment(segment, deadline, i == 0 ? checks : nullptr, i == 0 && entered)) return false;
  }
  if (program.direct) local_->meet(deadline);
  return true;
}

}  // namespace pyccl
