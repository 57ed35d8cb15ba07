// Do all ranks run the same operation? On one node by comparing control lines; between nodes by dissemination.
#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>

#include "comm/carried.h"
#include "comm/verdict.h"
#include "core/error.h"
#include "engine/backoff.h"

namespace pyccl {
namespace {

constexpr int kTag = 32767;
constexpr double kGrace = 0.9;  // seconds that word of a missing rank may take

void copy_text(char (&to)[shm::kReasonBytes], const char* from) {
  const std::size_t n = strnlen(from, sizeof to - 1);
  std::memcpy(to, from, n);
  to[n] = 0;
}

}  // namespace

Fingerprint Communicator::fingerprint(const Prepared& p) const {
  const Call& call = p.call;
  Fingerprint f;
  f.kind = static_cast<std::uint8_t>(call.kind);
  const auto op = static_cast<std::uint8_t>(call.op);
  f.op = reduces(call.kind) || purpose(f.kind, op) ? op : 0;
  f.dtype = static_cast<std::uint8_t>(call.dtype);
  f.algorithm = static_cast<std::uint8_t>(call.algorithm);
  f.root = call.root;
  f.count = call.send_counts.empty() ? call.count : 0;
  f.sequence = sequence_;
  f.details = call.details ^ p.digest;
  f.extent = p.staged_layout->largest;
  if (runs_direct(p)) {
    f.input_key = p.input_key;
    f.output_key = p.output_key;
  }
  return f;
}

std::string Communicator::describe_call(const Fingerprint& f) const {
  const bool known = f.algorithm < algorithms_.size();
  return describe(f, known ? algorithms_[f.algorithm] : "?");
}

/// Words for what the fingerprint only has a hash of; in the place of a refusal's reason.
void Communicator::add_note(const Prepared& p) {
  note_ = p.call.note;
  if (p.digest != 0) {
    char text[32];
    std::snprintf(text, sizeof text, "%sschedule %08x", note_.empty() ? "" : ", ", p.digest);
    note_ += text;
  }
  if (note_.empty() || !node_) return;
  const std::size_t n = std::min<std::size_t>(note_.size(), shm::kReasonBytes - 1);
  std::copy_n(note_.data(), n, node_->next_reason());
  node_->next_reason()[n] = 0;
}

Communicator::Verdict Communicator::compare_on_node(const Fingerprint& mine) const {
  Verdict v;
  v.a = mine;
  v.rank_a = setup_.rank;
  v.extent = mine.extent;
  if (mine.kind == kAborted) {
    v.status = Verdict::Aborted;
    copy_text(v.reason, refusal_.c_str());
  }
  if (v.status == Verdict::Agreed && mine.details != 0) copy_text(v.reason, note_.c_str());
  if (!node_) return v;
  for (int rank : node_->ranks()) {
    const Fingerprint& other = node_->announced(rank);
    v.extent = std::max(v.extent, other.extent);
    if (mine.same_operation(other) || v.status == Verdict::Aborted) continue;
    if (other.kind == kAborted) {
      v.status = Verdict::Aborted;
      v.rank_a = rank;
      v.a = other;
      copy_text(v.reason, node_->reason(rank));
    } else if (v.status == Verdict::Agreed) {
      v.status = Verdict::Mismatch;
      v.rank_b = rank;
      v.b = other;
      if (other.details != 0) copy_text(v.reason_b, node_->reason(rank));
    }
  }
  return v;
}

void Communicator::act_on(const Verdict& v, const Fingerprint& mine) const {
  if (v.status == Verdict::Agreed || (mine.kind == kAborted && v.status != Verdict::Missing)) return;
  if (v.status == Verdict::Aborted) {
    const std::string reason(v.reason, strnlen(v.reason, shm::kReasonBytes));
    throw PeerAborted(
        "rank " + std::to_string(v.rank_a) + " refused to take part in " + describe_call(mine) + ": " + reason,
        v.rank_a, reason);
  }
  if (v.status == Verdict::Missing) {
    throw Timeout(describe_call(mine) + " timed out: " + std::string(v.reason, strnlen(v.reason, sizeof v.reason)),
                  {v.missing, v.missing + v.nmissing});
  }
  const auto side = [&](int rank, const Fingerprint& f, const char* note) {
    const std::string words = v.a.details == v.b.details ? "" : *note ? std::string(" with ") + note : " with defaults";
    return "rank " + std::to_string(rank) + " calls " + describe_call(f) + words;
  };
  throw MismatchError("ranks disagree: " + side(v.rank_a, v.a, v.reason) + ", " + side(v.rank_b, v.b, v.reason_b));
}

/// Returns once `wanted` is done; `others` move on meanwhile.
void Communicator::settle(Pending& wanted, Pending& others, int from, const Deadline& deadline) {
  ++settles_;
  for (int spins = 0; !wanted.empty(); ++spins) {
    others.test();
    if (wanted.test()) continue;
    rest(spins, deadline.looks());
    if (spins < deadline.looks() || spins % 256 != 0) continue;
    deadline.poll();
    stall_.look(settles_, [&](const std::string& time) {
      return "operation #" + std::to_string(sequence_) + " has waited " + time + " for rank " + std::to_string(from) +
             ", which is on another node";
    });
    if (deadline.remaining() > 0) continue;
    report_missing({from}, describe_missing({from}));
    throw Unheard({from});
  }
}

std::string Communicator::describe_missing(const std::vector<int>& ranks) const {
  if (node_) return node_->describe_missing(ranks);
  std::string names;
  for (int rank : ranks) names += (names.empty() ? "rank " : ", ") + std::to_string(rank);
  return names + " did not arrive";
}

void Communicator::time_out(const Fingerprint& mine, const Unheard& error, const Deadline& deadline) const {
  throw Timeout(describe_call(mine) + " timed out after " + format_seconds(deadline.seconds()) + ": " +
                    describe_missing(error.ranks),
                error.ranks);
}

/// The node that this rank speaks for, -1 if another one does.
int Communicator::speaks_for() const {
  const auto found =
      std::find_if(by_node_.begin(), by_node_.end(), [this](const auto& ranks) { return ranks[0] == setup_.rank; });
  return found == by_node_.end() ? -1 : static_cast<int>(found - by_node_.begin());
}

void Communicator::Verdict::add(const Verdict& other) {
  if (status == Missing || other.status == Missing) {
    if (status != Missing) *this = other;
    return;
  }
  const std::int64_t most = std::max(extent, other.extent);
  if (other.status == Aborted && status != Aborted) {
    *this = other;
  } else if (status == Agreed && other.status == Mismatch) {
    *this = other;
  } else if (status == Agreed && !a.same_operation(other.a)) {
    status = Mismatch;
    rank_b = other.rank_a;
    b = other.a;
    copy_text(reason_b, other.reason);
  }
  extent = most;
}

std::int64_t Communicator::Verdict::write(char* message) const {
  const bool plain = status == Agreed && *reason == 0;
  const std::size_t bytes = plain ? offsetof(Verdict, b) : sizeof *this;
  std::memcpy(message, this, bytes);
  const auto size = static_cast<std::int32_t>(bytes);
  std::memcpy(message + offsetof(Verdict, told), &size, sizeof size);
  return size;
}

std::int64_t Communicator::Verdict::read(const char* message, std::int64_t length) {
  constexpr auto kLeast = static_cast<std::int64_t>(offsetof(Verdict, b));
  *this = {};
  if (length >= kLeast) std::memcpy(static_cast<void*>(this), message, kLeast);
  if (told < kLeast || told > static_cast<std::int64_t>(sizeof *this) || told > length) {
    throw TransportError("a word of agreement is cut short");
  }
  std::memcpy(this, message, static_cast<std::size_t>(told));
  return told;
}

/// Dissemination among the lowest ranks of the nodes: after step k everybody knows of 2^(k+1) nodes, and has their
/// blocks of the cargo. Blocks travel while all are agreed; lengths follow from the operation.
void Communicator::agree_between_nodes(Verdict& v, const Deadline& deadline, const Cargo* cargo) {
  const int n = static_cast<int>(by_node_.size()), me = speaks_for();
  const int steps = std::bit_width(static_cast<unsigned>(n - 1));
  constexpr std::int64_t kWord = sizeof(Verdict) + kCarried;
  char* const words = words_.reserve((steps + 1) * kWord);  // what has been said stays until it is sent
  char* const heard = words + steps * kWord;
  Pending sends(remote_.get());  // may complete only when the receiver comes, who need not be the next one to wait for
  int to = setup_.rank;
  for (int step = 0; step < steps; ++step) {
    const int distance = 1 << step, source = (me - distance + n) % n, from = by_node_[source][0];
    const int blocks = std::min(distance, n - distance);
    char* const word = words + step * kWord;
    std::int64_t size = v.write(word);
    if (cargo && v.status == Verdict::Agreed) size += cargo->pack(by_node_, me, blocks, word + size);
    to = by_node_[(me + distance) % n][0];
    std::int64_t length = 0;
    Pending reply(remote_.get());
    reply.recv(heard, kWord, from, kTag, &length);
    sends.send(word, size, to, kTag);
    settle(reply, sends, from, deadline.patient(kGrace * step / steps));
    Verdict other;
    const std::int64_t said = other.read(heard, length);
    v.add(other);
    if (!cargo || v.status != Verdict::Agreed) continue;
    if (length - said != cargo->size(by_node_, source, blocks)) {
      throw TransportError("a word of agreement carries another load than was agreed");
    }
    cargo->unpack(by_node_, source, blocks, heard + said);
  }
  Pending none(remote_.get());
  if (v.status != Verdict::Missing) settle(sends, none, to, deadline.patient(kGrace));
}

/// Who does not come is known to those who wait for it only: without a word from them, others would blame them.
void Communicator::report_missing(const std::vector<int>& ranks, const std::string& text) {
  const int n = static_cast<int>(by_node_.size()), me = speaks_for();
  if (me < 0) return;
  Verdict v;
  v.status = Verdict::Missing;
  v.rank_a = ranks.front();
  v.nmissing = static_cast<std::int32_t>(std::min<std::size_t>(ranks.size(), std::size(v.missing)));
  std::copy_n(ranks.begin(), v.nmissing, v.missing);
  std::memcpy(v.reason, text.data(), std::min(text.size(), sizeof v.reason - 1));
  Pending pending(remote_.get());
  char word[sizeof v];
  const std::int64_t size = v.write(word);
  for (int distance = 1; distance < n; distance *= 2) {
    pending.send(word, size, by_node_[(me + distance) % n][0], kTag);
  }
  for (int tries = 0; tries < 100 && !pending.empty(); ++tries) pending.test();
}

Communicator::Verdict Communicator::agree(const Fingerprint& mine, const Deadline& deadline, const Cargo* cargo) {
  if (node_) {
    const bool known = mine.kind < kCollectives && mine.algorithm < algorithms_.size();
    node_->set_operation(&mine, known ? algorithms_[mine.algorithm].c_str() : "");
    node_->announce(mine);
    try {
      node_->meet(deadline);
    } catch (const Timeout& error) {
      if (spans_nodes_ && !error.missing.empty()) report_missing(error.missing, describe_missing(error.missing));
      throw;
    }
  }
  Verdict v = compare_on_node(mine);
  if (!spans_nodes_) return v;
  const int leader = node_ ? node_->ranks().front() : setup_.rank;
  static_assert(kVerdictOffset + sizeof(Verdict) <= shm::kNoticeBytes && std::is_trivially_copyable_v<Verdict>);
  if (leader == setup_.rank) {
    try {
      agree_between_nodes(v, deadline, cargo);
    } catch (const Unheard& error) {
      time_out(mine, error, deadline);
    }
    if (node_) std::memcpy(node_->notice(leader) + kVerdictOffset, &v, sizeof v);
  }
  if (!node_) return v;
  node_->meet(deadline.patient(1.1 * kGrace));
  std::memcpy(&v, node_->notice(leader) + kVerdictOffset, sizeof v);
  return v;
}

bool Communicator::all_registered(const Fingerprint& mine) const {
  return std::all_of(node_->ranks().begin(), node_->ranks().end(), [&](int rank) {
    const Fingerprint& f = node_->announced(rank);
    return f.input_key == mine.input_key && f.output_key == mine.output_key;
  });
}

bool Communicator::any_registered() const {
  return std::any_of(node_->ranks().begin(), node_->ranks().end(), [&](int rank) {
    const Fingerprint& f = node_->announced(rank);
    return f.input_key != 0 || f.output_key != 0;
  });
}

/// A user's function may fail on one rank only; all ranks must raise.
void Communicator::confirm_user_function(const Fingerprint& fingerprint_now, const Deadline& deadline) {
  Fingerprint mine = fingerprint_now;
  mine.extent = engine_.take_failure() ? 1 : 0;
  bool failed = mine.extent != 0;
  if (setup_.size > 1) failed = agree(mine, deadline).extent != 0;
  if (failed) throw Refused("the user-defined reduction raised an exception; the result is undefined");
}

}  // namespace pyccl
