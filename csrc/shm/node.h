// The ranks of one node and the segment that they share.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "engine/stall.h"
#include "engine/transport.h"
#include "shm/layout.h"
#include "shm/memory.h"
#include "shm/wait.h"

namespace pyccl::shm {

/// A segment that this rank has created or mapped, before anybody knows who else has.
class Segment {
 public:
  /// A new one with room for `ranks` ranks, and a random nonce.
  static Segment create(int ranks);
  /// Maps a peer's. To read its nonce here is the proof that both run on one node. Throws if anything differs.
  static Segment open(std::int64_t pid, int fd, int ranks, const std::string& nonce);
  Hub& hub() const { return *reinterpret_cast<Hub*>(mapping_.base()); }
  char* base() const { return mapping_.base(); }
  const Mapping& mapping() const { return mapping_; }
  int fd() const { return fd_.get(); }
  std::string nonce() const;
  void close_descriptor() { fd_.close(); }
  /// The same mapping for another rank of this process: race detectors compare addresses, not files.
  Segment same_mapping() const { return Segment(mapping_); }

 private:
  Segment(Descriptor fd, int ranks);
  explicit Segment(const Mapping& mapping) : mapping_(mapping) {}
  Descriptor fd_;
  Mapping mapping_;
};

class Node final : public Local, private Interrupt {
 public:
  /// `ranks` are the communicator's ranks on this node, ascending; `pids` theirs.
  Node(Segment segment, int rank, std::vector<int> ranks, std::vector<std::int64_t> pids, WaitPolicy policy);
  ~Node() override;

  void meet(const Deadline& deadline) override;
  std::int64_t claim_segments(std::int64_t count) override { return std::exchange(segments_, segments_ + count); }
  char* staging(int rank, unsigned half) const override { return staging_[local_[rank]] + half * kStagingHalf; }
  /// Small pieces stay in the caches, but each costs two meetings: worth it where meetings are cheap.
  std::int64_t staging_bytes() const override { return policy_.yields > 0 ? kStagingHalf / 4 : kStagingHalf; }
  char* inline_staging(int rank, unsigned half) const override { return block(local_[rank]).half[half].inline_staging; }
  std::int64_t inline_bytes() const override { return kInlineBytes; }

  /// After a refused operation the ranks may have begun different numbers of segments; nobody reads staging then.
  void realign() { segments_ = meeting_; }

  /// Part of the next meeting.
  void announce(const Fingerprint& fingerprint) { block(me_).half[(meeting_ + 1) & 1].line.fingerprint = fingerprint; }
  /// What `rank` announced for the last meeting. Valid until the next but one.
  const Fingerprint& announced(int rank) const { return block(local_[rank]).half[meeting_ & 1].line.fingerprint; }
  /// Why this rank refuses the operation of the next meeting, and why `rank` has refused that of the last one.
  char* next_reason() const { return block(me_).reason[(meeting_ + 1) & 1]; }
  const char* reason(int rank) const { return block(local_[rank]).reason[meeting_ & 1]; }
  char* notice(int rank) const { return block(local_[rank]).notice; }

  /// What the operation is, for the messages of a wait that fails.
  void set_operation(const Fingerprint* operation, const char* algorithm) {
    operation_ = operation;
    algorithm_ = algorithm;
  }
  /// Tells every rank of the node that the communicator must not be used again; the first reason stays.
  bool break_off(const Cause& why);
  bool broken() const { return hub().outage.broken(); }
  Outage& outage() const { return hub().outage; }
  /// By rank of the communicator.
  std::atomic<Fate>* fates() const { return fates_; }
  /// Notes and returns the ranks of this node whose processes are gone though they have not left. One system call.
  std::vector<int> find_dead();
  /// "rank(s) 1, 2 did not arrive (last seen: rank 1 in barrier() #3, rank 2 in nothing yet)"
  std::string describe_missing(const std::vector<int>& ranks) const;

  bool has(int rank) const { return rank < static_cast<int>(local_.size()) && local_[rank] >= 0; }
  /// What carries messages from rank `from` to rank `to`; touched by these two only.
  Mailbox& mailbox(int from, int to) const {
    return mailboxes_[static_cast<std::int64_t>(local_[from]) * hub().ranks + local_[to]];
  }
  Bell& bell(int rank) const { return bells_[local_[rank]]; }
  /// Whether the rank's process is gone. A system call.
  bool died(int rank) const;

  Stall& stall() { return stall_; }

  const std::vector<int>& ranks() const { return ranks_; }
  const WaitPolicy& policy() const { return policy_; }

 private:
  void check() override;
  std::vector<int> missing() const;
  std::string what() const;
  std::string last_seen(int rank) const;
  Hub& hub() const { return segment_.hub(); }
  RankBlock& block(int local) const { return blocks_[local]; }

  Segment segment_;
  RankBlock* blocks_;
  Bell* bells_;
  Mailbox* mailboxes_;
  std::atomic<Fate>* fates_;
  std::vector<char*> staging_;  // by local index
  std::vector<int> ranks_, local_;
  std::vector<std::int64_t> pids_;
  std::vector<Descriptor> pidfds_;
  int me_;
  int count_;
  WaitPolicy policy_;
  Yielding yielding_;
  std::uint32_t meeting_ = 0;
  std::uint64_t arrivals_ = 0;
  std::int64_t segments_ = 0;
  const Deadline* deadline_ = nullptr;
  const Fingerprint* operation_ = nullptr;
  const char* algorithm_ = "";
  Stall stall_;
};

}  // namespace pyccl::shm
