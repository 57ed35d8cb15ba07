#include "shm/node.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <stdexcept>

#include "core/error.h"

namespace pyccl::shm {

Segment::Segment(Descriptor fd, int ranks) : fd_(std::move(fd)), mapping_(fd_.get(), segment_bytes(ranks)) {
  const std::int64_t start = bells_offset(ranks), bytes = segment_bytes(ranks) - start;
  madvise(mapping_.base() + start, static_cast<std::size_t>(bytes), MADV_NOHUGEPAGE);
}

Segment Segment::create(int ranks) {
  Segment s(create_memory(segment_bytes(ranks)), ranks);
  Hub& hub = *new (s.mapping_.base()) Hub{};
  hub.version = kVersion;
  hub.ranks = static_cast<std::uint32_t>(ranks);
  if (getrandom(hub.nonce, sizeof hub.nonce, 0) != sizeof hub.nonce) throw std::runtime_error("getrandom failed");
  hub.magic = kMagic;
  return s;
}

Segment Segment::open(std::int64_t pid, int fd, int ranks, const std::string& nonce) {
  Segment s(open_memory(pid, fd, segment_bytes(ranks)), ranks);
  const Hub& hub = s.hub();
  if (hub.magic != kMagic) throw std::runtime_error("not a pyccl segment");
  if (hub.version != kVersion) throw std::runtime_error("a segment of another pyccl version");
  if (hub.ranks != static_cast<std::uint32_t>(ranks) || s.nonce() != nonce) {
    throw std::runtime_error("a segment of another communicator");
  }
  return s;
}

std::string Segment::nonce() const { return {reinterpret_cast<const char*>(hub().nonce), sizeof hub().nonce}; }

Node::Node(Segment segment, int rank, std::vector<int> ranks, std::vector<std::int64_t> pids, WaitPolicy policy)
    : segment_(std::move(segment)), blocks_(reinterpret_cast<RankBlock*>(segment_.base() + kBlocksOffset)),
      bells_(reinterpret_cast<Bell*>(segment_.base() + bells_offset(static_cast<int>(hub().ranks)))),
      mailboxes_(reinterpret_cast<Mailbox*>(segment_.base() + mailboxes_offset(static_cast<int>(hub().ranks)))),
      ranks_(std::move(ranks)), pids_(std::move(pids)), me_(-1), count_(static_cast<int>(ranks_.size())),
      policy_(policy) {
  if (ranks_.empty() || pids_.size() != ranks_.size()) throw std::invalid_argument("ranks and pids differ in length");
  if (static_cast<std::uint32_t>(count_) > hub().ranks) throw std::invalid_argument("segment too small");
  local_.assign(ranks_.back() + 1, -1);
  for (int i = 0; i < count_; ++i) {
    local_[ranks_[i]] = i;
    if (ranks_[i] == rank) me_ = i;
    staging_.push_back(segment_.base() + staging_offset(static_cast<int>(hub().ranks)) + 2 * kStagingHalf * i);
    const bool other = pids_[i] != static_cast<std::int64_t>(getpid());
    pidfds_.emplace_back(other ? static_cast<int>(syscall(SYS_pidfd_open, static_cast<pid_t>(pids_[i]), 0)) : -1);
  }
  if (me_ < 0) throw std::invalid_argument("own rank is not among the node's ranks");
}

Node::~Node() = default;

void Node::meet(const Deadline& deadline) {
  const std::uint32_t g = ++meeting_;
  deadline_ = &deadline;
  ControlLine& own = block(me_).half[g & 1].line;
  if (broken()) throw_broken();
  if (policy_.crowded) {
    own.round.store(g, std::memory_order_release);
    arrivals_ += static_cast<std::uint64_t>(count_);
    const std::uint64_t outstanding = arrivals_ - hub().arrived.fetch_add(1, std::memory_order_acq_rel) - 1;
    if (outstanding == 0) return post(hub().epoch, g, hub().sleepers);
    if (yielding_.until(hub().epoch, g, policy_.yields)) return;
    return wait_equal(hub().epoch, g, hub().sleepers, policy_, deadline, *this);
  }
  post(own.round, g, own.waiters);
  for (int i = 0; i < count_; ++i) {
    if (i == me_) continue;
    ControlLine& line = block(i).half[g & 1].line;
    wait_equal(line.round, g, line.waiters, policy_, deadline, *this);
  }
}

std::vector<int> Node::missing() const {
  std::vector<int> ranks;
  for (int i = 0; i < count_; ++i) {
    if (block(i).half[meeting_ & 1].line.round.load(std::memory_order_acquire) != meeting_) ranks.push_back(ranks_[i]);
  }
  return ranks;
}

std::string Node::what() const { return operation_ ? describe(*operation_, algorithm_) : "a meeting of the node"; }

/// What a rank that is not here announced last.
std::string Node::last_of(int rank) const {
  const auto& half = block(local_[rank]).half;
  const bool later = half[1].line.fingerprint.sequence > half[0].line.fingerprint.sequence;
  const Fingerprint f = half[later ? 1 : 0].line.fingerprint;  // it may be writing the other one now
  const std::string who = "rank " + std::to_string(rank);
  return who + (f.sequence == 0 ? " (no operation yet)" : " (last at " + describe(f, "") + ")");
}

bool Node::died(int rank) const {
  pollfd p{pidfds_[local_[rank]].get(), POLLIN, 0};
  return p.fd >= 0 && ::poll(&p, 1, 0) > 0;
}

/// Called every 50 ms of a slow wait.
void Node::check() {
  if (broken()) throw_broken();
  deadline_->poll();
  const std::vector<int> late = missing();
  for (int rank : late) {
    if (!died(rank)) continue;
    break_off(Broken::PeerLost, rank, "rank " + std::to_string(rank) + " died before it reached " + what());
    throw_broken();
  }
  stall_.look(meeting_, [&](const std::string& time) {
    std::string text = what() + " has waited " + time;
    for (int rank : late) text += (rank == late.front() ? " for " : ", for ") + last_of(rank);
    return text;
  });
  if (deadline_->remaining() > 0) return;
  std::string names;
  for (int rank : late) names += (names.empty() ? "" : ", ") + std::to_string(rank);
  const std::string text =
      what() + " timed out after " + std::to_string(deadline_->seconds()) + " s: rank(s) " + names + " did not arrive";
  break_off(Broken::Timeout, late.empty() ? -1 : late.front(), text);
  throw Timeout(text, late);
}

void Node::break_off(Broken kind, int rank, const std::string& text) {
  Hub& h = hub();
  std::uint32_t expected = 0;
  if (h.broken.compare_exchange_strong(expected, 1)) {
    h.broken_kind = static_cast<std::int32_t>(kind);
    h.broken_rank = rank;
    const std::size_t n = std::min(text.size(), sizeof h.broken_text - 1);
    std::memcpy(h.broken_text, text.data(), n);
    h.broken_text[n] = 0;
    h.broken.store(2, std::memory_order_release);
  }
  futex_wake_all(h.epoch);
  for (int i = 0; i < count_; ++i) {
    for (auto& half : block(i).half) futex_wake_all(half.line.round);
    futex_wake_all(bells_[i].rings);
  }
}

void Node::throw_broken() const {
  const Hub& h = hub();
  while (h.broken.load(std::memory_order_acquire) == 1) {}
  const std::string text(h.broken_text, strnlen(h.broken_text, sizeof h.broken_text));
  switch (static_cast<Broken>(h.broken_kind)) {
    case Broken::PeerLost: throw PeerLost(text, h.broken_rank);
    case Broken::Timeout: throw Timeout("the communicator is broken: " + text, {h.broken_rank});
    default: throw CommError("the communicator is broken: " + text);
  }
}

}  // namespace pyccl::shm
