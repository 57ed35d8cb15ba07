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
      fates_(reinterpret_cast<std::atomic<Fate>*>(segment_.base() + fates_offset(static_cast<int>(hub().ranks)))),
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
  if (broken()) outage().raise();
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

/// What a rank announced last: the younger of its two lines.
std::string Node::last_seen(int rank) const {
  const auto& half = block(local_[rank]).half;
  const Fingerprint a = half[0].line.fingerprint, b = half[1].line.fingerprint;
  const Fingerprint& last = a.sequence > b.sequence ? a : b;
  return last.sequence == 0 ? "nothing yet" : describe(last, "");
}

std::string Node::describe_missing(const std::vector<int>& ranks) const {
  constexpr std::size_t kTold = 4;
  std::string names, seen;
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    names += (i ? ", " : "") + std::to_string(ranks[i]);
    if (i < kTold && has(ranks[i])) {
      seen += (seen.empty() ? "" : ", ") + ("rank " + std::to_string(ranks[i])) + " in " + last_seen(ranks[i]);
    }
  }
  return (ranks.size() > 1 ? "ranks " : "rank ") + names + " did not arrive" +
         (seen.empty() ? "" : " (last seen: " + seen + ")");
}

bool Node::died(int rank) const {
  pollfd p{pidfds_[local_[rank]].get(), POLLIN, 0};
  return p.fd >= 0 && ::poll(&p, 1, 0) > 0;
}

std::vector<int> Node::find_dead() {
  std::vector<pollfd> all;
  for (const Descriptor& fd : pidfds_) all.push_back({fd.get(), POLLIN, 0});  // poll skips negative ones
  std::vector<int> dead;
  if (::poll(all.data(), all.size(), 0) <= 0) return dead;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].revents == 0) continue;
    Fate alive = Fate::Alive;
    fates_[ranks_[i]].compare_exchange_strong(alive, Fate::Lost);
    if (alive != Fate::Left) dead.push_back(ranks_[i]);
  }
  return dead;
}

/// Called every 50 ms of a slow wait.
void Node::check() {
  if (broken()) outage().raise();
  const std::vector<int> late = missing();
  const std::vector<int> dead = find_dead();
  // A rank may have gone after its part in this meeting; if the others are here, too, there is nothing to wait for.
  // Nor does one come that has closed the communicator, though its process may live on.
  const auto gone = std::find_if(late.begin(), late.end(), [&](int rank) {
    return died(rank) || fates_[rank].load(std::memory_order_acquire) == Fate::Left;
  });
  const int lost = gone != late.end() ? *gone : dead.empty() ? -1 : dead.front();
  if (lost >= 0) {
    const bool left = fates_[lost].load() == Fate::Left;
    break_off(Cause::of(Broken::PeerLost, gone != late.end() && left ? std::vector{lost} : dead,
                        "rank " + std::to_string(lost) + (left ? " left" : " died") + " before it finished " + what() +
                            " (last seen: rank " + std::to_string(lost) + " in " + last_seen(lost) + ")"));
    outage().raise();
  }
  deadline_->poll();
  stall_.look(meeting_,
              [&](const std::string& time) { return what() + " has waited " + time + ": " + describe_missing(late); });
  if (deadline_->remaining() > 0) return;
  const std::string text =
      what() + " timed out after " + format_seconds(deadline_->seconds()) + ": " + describe_missing(late);
  break_off(Cause::of(Broken::Timeout, late, text));
  throw Timeout(text, late);
}

bool Node::break_off(const Cause& why) {
  Hub& h = hub();
  const bool first = h.outage.set(why);
  futex_wake_all(h.epoch);
  for (int i = 0; i < count_; ++i) {
    for (auto& half : block(i).half) futex_wake_all(half.line.round);
    futex_wake_all(bells_[i].rings);
  }
  return first;
}

}  // namespace pyccl::shm
