// Do all ranks run the same operation? On one node by comparing control lines; between nodes by dissemination.
#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>

#include "comm/verdict.h"
#include "core/error.h"

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
  f.op = reduces(call.kind) ? static_cast<std::uint8_t>(call.op) : 0;
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
    if (wanted.test() || spins < deadline.looks()) continue;
    const timespec pause{0, spins < deadline.looks() + 1800 ? 1000 : 200000};
    nanosleep(&pause, nullptr);
    if (spins % 256 != 0) continue;
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

/// The lowest rank of every node.
std::vector<int> Communicator::leaders() const {
  std::vector<int> found, seen;
  for (int r = 0; r < setup_.size; ++r) {
    if (std::find(seen.begin(), seen.end(), setup_.nodes[r]) != seen.end()) continue;
    seen.push_back(setup_.nodes[r]);
    found.push_back(r);
  }
  return found;
}

/// Dissemination among one leader per node: after step k everybody knows of 2^(k+1) nodes.
void Communicator::agree_between_nodes(Verdict& v, const Deadline& deadline) {
  const std::vector<int> nodes = leaders();
  const int n = static_cast<int>(nodes.size());
  const int me = static_cast<int>(std::find(nodes.begin(), nodes.end(), setup_.rank) - nodes.begin());
  const int steps = std::bit_width(static_cast<unsigned>(n - 1));
  std::vector<Verdict> said;
  said.reserve(static_cast<std::size_t>(steps));
  Pending sends(remote_.get());  // may complete only when the receiver comes, who need not be the next one to wait for
  int to = setup_.rank;
  for (int step = 0; step < steps; ++step) {
    const int distance = 1 << step, from = nodes[(me - distance + n) % n];
    to = nodes[(me + distance) % n];
    said.push_back(v);
    sends.send(reinterpret_cast<const char*>(&said.back()), sizeof v, to, kTag);
    Verdict other;
    Pending word(remote_.get());
    word.recv(reinterpret_cast<char*>(&other), sizeof other, from, kTag);
    settle(word, sends, from, deadline.patient(kGrace * step / steps));
    if (v.status == Verdict::Missing || other.status == Verdict::Missing) {
      if (v.status != Verdict::Missing) v = other;
      continue;
    }
    const std::int64_t extent = std::max(v.extent, other.extent);
    if (other.status == Verdict::Aborted && v.status != Verdict::Aborted) {
      v = other;
    } else if (v.status == Verdict::Agreed && other.status == Verdict::Mismatch) {
      v = other;
    } else if (v.status == Verdict::Agreed && !v.a.same_operation(other.a)) {
      v.status = Verdict::Mismatch;
      v.rank_b = other.rank_a;
      v.b = other.a;
      copy_text(v.reason_b, other.reason);
    }
    v.extent = extent;
  }
  Pending none(remote_.get());
  if (v.status != Verdict::Missing) settle(sends, none, to, deadline.patient(kGrace));
}

/// Who does not come is known to those who wait for it only: without a word from them, others would blame them.
void Communicator::report_missing(const std::vector<int>& ranks, const std::string& text) {
  const std::vector<int> nodes = leaders();
  const int n = static_cast<int>(nodes.size());
  const int me = static_cast<int>(std::find(nodes.begin(), nodes.end(), setup_.rank) - nodes.begin());
  if (me == n) return;
  Verdict v;
  v.status = Verdict::Missing;
  v.rank_a = ranks.front();
  v.nmissing = static_cast<std::int32_t>(std::min<std::size_t>(ranks.size(), std::size(v.missing)));
  std::copy_n(ranks.begin(), v.nmissing, v.missing);
  std::memcpy(v.reason, text.data(), std::min(text.size(), sizeof v.reason - 1));
  Pending pending(remote_.get());
  for (int distance = 1; distance < n; distance *= 2) {
    pending.send(reinterpret_cast<const char*>(&v), sizeof v, nodes[(me + distance) % n], kTag);
  }
  for (int tries = 0; tries < 100 && !pending.empty(); ++tries) pending.test();
}

Communicator::Verdict Communicator::agree(const Fingerprint& mine, const Deadline& deadline) {
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
      agree_between_nodes(v, deadline);
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
