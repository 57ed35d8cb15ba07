// Programs that span nodes, phase by phase: see docs/design.md, "Several nodes".
#include <cmath>
#include <vector>

#include "engine/backoff.h"
#include "engine/segment.h"

namespace pyccl {
namespace {

constexpr std::int64_t kBlock = 64 << 20;  // bytes of the vector at a time: scratch memory is in proportion
// A slice between nodes: small ones let the sending of results overlap that of contributions, large ones cost less.
constexpr std::int64_t kLeastSlice = 16 << 10, kMostSlice = 1 << 20;
constexpr std::int64_t kSlices = 32;
constexpr int kLanes = 4;  // slices under way at a time

std::int64_t slice(std::int64_t elements, std::int64_t item) {
  return std::clamp(elements / kSlices, kLeastSlice / item, kMostSlice / item);
}

/// Elements of a chunk that are worked on at a time.
std::int64_t block_elements(const Program& program, std::int64_t item) {
  const bool pairs = program.collective == Collective::AllToAll;  // of ranks; each holds one row of them
  const double parts = pairs ? std::sqrt(program.nchunks) : program.nchunks;
  return std::max<std::int64_t>(1, kBlock / item / static_cast<std::int64_t>(parts));
}

}  // namespace

struct Engine::Lane {
  Segment segment;
  std::int64_t index;  // of the slice
  int round;
  bool posted = false;
  Pending sends, recvs;
  bool done = false;
};

bool Engine::advance(Lane& lane) {
  const Segment& s = lane.segment;
  bool moved = lane.sends.test();
  while (lane.round < s.end) {
    const Round& round = s.program.rounds[static_cast<std::size_t>(lane.round)];
    if (!lane.posted) {
      if (lands_on(s, round, lane.sends)) return moved;
      for (const Pass& pass : round.before) execute(s, pass);
      post(s, round, lane.sends, lane.recvs);
      lane.posted = moved = true;
    }
    moved |= lane.recvs.test();
    if (!lane.recvs.empty() || writes_on(s, round, lane.sends)) return moved;
    for (const Pass& pass : round.after) execute(s, pass);
    ++lane.round;
    lane.posted = false;
    moved = true;
  }
  return moved;
}

/// Without meetings slices are independent: a few of them are kept in flight, so that one reduces while another one's
/// messages travel, and the network carries results one way while contributions go the other.
void Engine::run_lanes(const Segment& whole, const Deadline& deadline) {
  const std::int64_t slices = (whole.length + whole.unit - 1) / whole.unit;
  const auto cut = [&](Lane& lane, std::int64_t index) {
    lane.index = index;
    lane.round = whole.first;
    lane.segment.skip = index * whole.unit;
    lane.segment.begin = whole.begin + lane.segment.skip;
    lane.segment.length = std::min(whole.unit, whole.length - lane.segment.skip);
  };
  std::vector<Lane> lanes;
  const std::int64_t open_at_most = std::min<std::int64_t>(kLanes, slices);
  lanes.reserve(static_cast<std::size_t>(open_at_most));
  for (std::int64_t i = 0; i < open_at_most; ++i) {
    lanes.push_back({whole, i, whole.first, false, Pending(remote_), Pending(remote_)});
    lanes.back().segment.tag = whole.tag + static_cast<int>(i);
    cut(lanes.back(), i);
  }
  Backoff backoff(deadline);
  for (std::int64_t open = open_at_most; open > 0;) {
    bool moved = false;
    for (Lane& lane : lanes) {
      if (lane.done) continue;
      moved |= advance(lane);
      if (lane.round < whole.end || !lane.sends.empty()) continue;
      if (lane.index + open_at_most < slices) {
        cut(lane, lane.index + open_at_most);  // as on every rank: a lane's messages match in their order
      } else {
        lane.done = true;
        --open;
      }
    }
    if (moved) {
      backoff.progressed();
      continue;
    }
    backoff.idle([&] {
      std::vector<const Pending*> recvs, sends;
      for (const Lane& lane : lanes) {
        recvs.push_back(&lane.recvs);
        sends.push_back(&lane.sends);
      }
      give_up(recvs, sends);
    });
  }
}

/// One slice after the other, between meetings.
void Engine::run_slices(Segment s, std::int64_t length, const Deadline& deadline) {
  const bool mine = local_ && std::ranges::any_of(s.rounds(), &Round::meet);  // or of other nodes only
  const std::int64_t slices = (length + s.unit - 1) / s.unit, block = s.begin;
  const std::int64_t number = mine ? local_->claim_segments(slices) : 0;
  for (std::int64_t i = 0; i < slices; ++i) {
    s.skip = i * s.unit;
    s.begin = block + s.skip;
    s.length = std::min(s.unit, length - s.skip);
    s.half = static_cast<unsigned>((number + i) & 1);
    run_segment(s, deadline, nullptr, false);
  }
}

void Engine::run_phases(const Program& program, const Binding& b, const Deadline& deadline, int tag) {
  const auto item = static_cast<std::int64_t>(item_size(b.how.dtype));
  const std::int64_t largest = std::max<std::int64_t>(b.layout->largest, 1);
  const std::int64_t block = std::min(largest, block_elements(program, item));
  Segment s{program, b, 0, item, false};
  s.stride = round_up(block * item, kLine);
  s.scratch = scratch_.reserve(std::max<std::int64_t>(program.scratch * s.stride, 1));
  s.tag = tag * kLanes;
  for (std::int64_t at = 0; at < largest; at += block) {
    const std::int64_t length = std::min(block, largest - at);
    for (const Phase& phase : program.phases) {
      s.first = phase.begin;
      s.end = phase.end;
      s.begin = at;
      s.length = length;
      if (phase.meets) {  // all ranks cut alike, those that have their node for themselves included
        s.unit = std::min(length, slot_room(program, kStagingBytes) / item);
        run_slices(s, length, deadline);
      } else {
        s.unit = std::min(length, slice(length, item));
        run_lanes(s, deadline);
      }
    }
  }
}

}  // namespace pyccl
