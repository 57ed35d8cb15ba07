#include "engine/engine.h"

#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <new>
#include <stdexcept>

#include "core/buffer.h"
#include "core/error.h"

namespace pyccl {
namespace {

constexpr std::int64_t kLine = 64;
constexpr std::int64_t kMessageSegment = 1 << 20;  // between nodes: large enough for bandwidth, small enough to overlap
constexpr int kLanes = 4;
constexpr std::int64_t kCopyBlock = 16 << 10;  // stays in L1 while it is written to several places

/// Waits politely for something that only polling can see: spin, then sleep ever longer, 0.2 ms at most.
class Backoff {
 public:
  explicit Backoff(const Deadline& deadline) : deadline_(deadline) {}
  void progressed() { idle_ = 0; }
  void idle() {
    if (++idle_ < 200) return;
    if (idle_ % 64 == 0) {
      deadline_.poll();
      if (deadline_.remaining() < 0) throw Timeout("no message from another node within the time limit", {});
    }
    const long nanoseconds = idle_ < 2000 ? 1000 : 200000;
    const timespec pause{0, nanoseconds};
    nanosleep(&pause, nullptr);
  }

 private:
  const Deadline& deadline_;
  int idle_ = 0;
};

}  // namespace

void Scratch::Free::operator()(void* p) const { std::free(p); }

char* Scratch::reserve(std::int64_t bytes) {
  if (bytes > capacity_) {
    const std::int64_t wanted = round_up(bytes, bytes >= (1 << 21) ? (1 << 21) : 4096);
    void* p = std::aligned_alloc(static_cast<std::size_t>(wanted >= (1 << 21) ? (1 << 21) : 4096), static_cast<std::size_t>(wanted));
    if (p == nullptr) throw std::bad_alloc();
    if (wanted >= (1 << 21)) madvise(p, static_cast<std::size_t>(wanted), MADV_HUGEPAGE);
    memory_.reset(static_cast<char*>(p));
    capacity_ = wanted;
  }
  return memory_.get();
}

/// One slice of every chunk: elements [index * unit, (index + 1) * unit) of each.
struct Engine::Segment {
  const Program& program;
  const Binding& binding;
  std::int64_t index;
  std::int64_t unit;    // elements of a slice
  std::int64_t item;    // bytes of an element
  char* scratch;
  bool inline_slots;
  int tag;
  unsigned half;  // of the staging areas

  std::int64_t scratch_bytes() const { return program.scratch * round_up(unit * item, kLine); }
  std::int64_t begin() const { return index * unit; }
  std::int64_t count(int chunk) const {
    return std::clamp<std::int64_t>(binding.layout->counts[chunk] - begin(), 0, unit);
  }
};

struct Engine::Lane {
  Segment segment;
  std::size_t round = 0;
  bool posted = false;
  Pending pending;
};

char* Engine::resolve(const Segment& s, const Place& place) const {
  const auto bytes = [&](std::int64_t elements) { return elements * s.item; };
  switch (place.where) {
    case Where::Input: {
      const char* base = place.rank == rank_ ? s.binding.input : (*s.binding.peer_inputs)[place.rank];
      return const_cast<char*>(base) + bytes(s.binding.layout->input_offsets[place.index] + s.begin());
    }
    case Where::Output: {
      char* base = place.rank == rank_ ? s.binding.output : (*s.binding.peer_outputs)[place.rank];
      return base + bytes(s.binding.layout->output_offsets[place.index] + s.begin());
    }
    case Where::Scratch: return s.scratch + place.index * round_up(bytes(s.unit), kLine);
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
                        static_cast<int>(ndests), count, divisor, s.binding.stream)) {
      user_failed_ = true;
    }
    return;
  }
  const std::int64_t total = count * s.item, block = ndests == 1 ? total : kCopyBlock;
  for (std::int64_t at = 0; at < total; at += block) {
    for (std::size_t i = 0; i < ndests; ++i) {
      char* to = static_cast<char*>(dests[i]) + at;
      const char* from = static_cast<const char*>(pointers[0]) + at;
      if (to != from) kernels::copy(to, from, std::min(block, total - at), s.binding.stream);
    }
  }
}

void Engine::post(const Segment& s, const Round& round, Pending& pending) {
  for (const Message& m : round.recvs) {
    const std::int64_t bytes = s.count(m.chunk) * s.item;
    if (bytes > 0) pending.add(remote_->recv(resolve(s, m.place), bytes, m.peer, s.tag));
  }
  for (const Message& m : round.sends) {
    const std::int64_t bytes = s.count(m.chunk) * s.item;
    if (bytes > 0) pending.add(remote_->send(resolve(s, m.place), bytes, m.peer, s.tag));
  }
}

Pending::~Pending() {
  for (const Remote::Request request : requests_) remote_->cancel(request);
}

bool Pending::test() {
  return std::erase_if(requests_, [this](Remote::Request request) { return remote_->test(request); }) != 0;
}

void Engine::finish(Pending& pending, const Deadline& deadline) {
  Backoff backoff(deadline);
  while (!pending.empty()) {
    if (pending.test()) backoff.progressed();
    else backoff.idle();
  }
}

bool Engine::run_segment(const Segment& s, const Deadline& deadline, const Check* check, bool entered) {
  Pending pending(remote_);
  for (const Round& round : s.program.rounds) {
    for (const Pass& pass : round.before) execute(s, pass);
    post(s, round, pending);
    if (round.meet && !entered) local_->meet(deadline);
    if (round.meet) {
      entered = false;
      if (check && !(*check)()) return false;
      check = nullptr;
    }
    if (!pending.empty()) finish(pending, deadline);
    for (const Pass& pass : round.after) execute(s, pass);
  }
  return true;
}

bool Engine::advance(Lane& lane) {
  const auto& rounds = lane.segment.program.rounds;
  bool moved = false;
  while (lane.round < rounds.size()) {
    const Round& round = rounds[lane.round];
    if (!lane.posted) {
      for (const Pass& pass : round.before) execute(lane.segment, pass);
      post(lane.segment, round, lane.pending);
      lane.posted = moved = true;
    }
    if (!lane.pending.empty()) lane.pending.test();
    if (!lane.pending.empty()) return moved;
    for (const Pass& pass : round.after) execute(lane.segment, pass);
    ++lane.round;
    lane.posted = false;
    moved = true;
  }
  return moved;
}

/// Without meetings segments are independent: a few of them are kept in flight, so that one reduces while
/// another one's messages travel.
void Engine::run_lanes(const Program& program, const Binding& b, const Deadline& deadline, std::int64_t unit, int tag) {
  const auto item = static_cast<std::int64_t>(item_size(b.how.dtype));
  const std::int64_t segments = std::max<std::int64_t>(1, (b.layout->largest + unit - 1) / unit);
  const int lanes = static_cast<int>(std::min<std::int64_t>(kLanes, segments));
  const std::int64_t piece = program.scratch * round_up(unit * item, kLine);
  char* scratch = scratch_.reserve(std::max<std::int64_t>(piece * lanes, 1));
  std::vector<Lane> active;
  active.reserve(static_cast<std::size_t>(lanes));
  for (int i = 0; i < lanes; ++i) {
    active.push_back({{program, b, i, unit, item, scratch + i * piece, false, tag * kLanes + i, 0}, 0, false, Pending(remote_)});
  }
  Backoff backoff(deadline);
  for (int open = lanes; open > 0;) {
    bool moved = false;
    for (Lane& lane : active) {
      if (lane.round == program.rounds.size()) continue;
      moved |= advance(lane);
      if (lane.round < program.rounds.size()) continue;
      if (lane.segment.index + lanes < segments) {
        lane.segment.index += lanes;  // the same segments on every rank: messages of a lane match in their order
        lane.round = 0;
      } else {
        --open;
      }
    }
    if (moved) backoff.progressed();
    else backoff.idle();
  }
}

bool Engine::run(const Program& program, const Binding& b, const Deadline& deadline, const Check& check, bool entered,
                 int tag) {
  const auto item = static_cast<std::int64_t>(item_size(b.how.dtype));
  const std::int64_t largest = std::max<std::int64_t>(b.layout->largest, 1);
  if (!program.meets && !program.any_meets) {
    run_lanes(program, b, deadline, std::min(largest, kMessageSegment / item), tag);
    return true;
  }
  std::int64_t unit = largest;
  bool inline_slots = false;
  if (!program.direct) {
    const std::int64_t slots = std::max(program.slots, 1);
    // between nodes all ranks must cut alike, those that have their node for themselves included
    const std::int64_t piece = program.spans_nodes ? kStagingBytes : local_->staging_bytes();
    const std::int64_t room = piece / slots / kLine * kLine;
    if (room == 0) throw std::length_error("too many staging slots for this number of ranks; choose another algorithm");
    unit = std::min(largest, room / item);
    inline_slots = local_ && slots * round_up(unit * item, kLine) <= local_->inline_bytes();
  }
  const std::int64_t segments = (largest + unit - 1) / unit;
  const std::int64_t first = local_ ? local_->claim_segments(segments) : 0, depth = program.pipelined ? std::ssize(program.rounds) : 1;
  Segment segment{program, b, 0, unit, item, nullptr, inline_slots, tag * kLanes, static_cast<unsigned>(first & 1)};
  if (program.scratch > 0) segment.scratch = scratch_.reserve(segment.scratch_bytes() * depth);
  const Check* const checks = check ? &check : nullptr;
  if (program.pipelined) return run_pipelined(segment, segments, deadline, checks, entered);
  for (std::int64_t i = 0; i < segments; ++i) {
    segment.index = i;
    segment.half = static_cast<unsigned>((first + i) & 1);
    if (!run_segment(segment, deadline, i == 0 ? checks : nullptr, i == 0 && entered)) return false;
  }
  if (program.direct) local_->meet(deadline);
  return true;
}

/// Segment i runs its round k in step i + k: a meeting per step serves as many segments as there are rounds.
bool Engine::run_pipelined(const Segment& start, std::int64_t segments, const Deadline& deadline, const Check* check,
                           bool entered) {
  const auto& rounds = start.program.rounds;
  const std::int64_t depth = std::ssize(rounds);
  const auto each = [&](std::int64_t step, auto&& run) {
    for (std::int64_t k = 0; k < depth; ++k) {
      const std::int64_t index = step - k;
      if (index < 0 || index >= segments) continue;
      Segment segment = start;
      segment.index = index;
      segment.half = static_cast<unsigned>((start.half + index) & 1);
      if (segment.scratch) segment.scratch += index % depth * segment.scratch_bytes();
      run(segment, rounds[static_cast<std::size_t>(k)]);
    }
  };
  for (std::int64_t step = 0; step < segments + depth - 1; ++step) {
    each(step, [&](const Segment& s, const Round& round) {
      for (const Pass& pass : round.before) execute(s, pass);
    });
    if (step > 0 || !entered) local_->meet(deadline);
    if (step == 0 && check && !(*check)()) return false;
    each(step, [&](const Segment& s, const Round& round) {
      for (const Pass& pass : round.after) execute(s, pass);
    });
  }
  return true;
}

}  // namespace pyccl
