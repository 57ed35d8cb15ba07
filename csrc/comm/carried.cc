#include "comm/carried.h"

#include <cstring>

#include "comm/verdict.h"
#include "core/buffer.h"
#include "core/error.h"
#include "engine/matching.h"
#include "engine/segment.h"

namespace pyccl {
namespace {

/// Calls `visit(rank)` for the ranks of `count` nodes, node `first` and those before it.
template <class Visit>
void for_each_rank(const std::vector<std::vector<int>>& nodes, int first, int count, Visit&& visit) {
  const int n = static_cast<int>(nodes.size());
  for (int i = 0; i < count; ++i) {
    for (int rank : nodes[static_cast<std::size_t>((first - i + n) % n)]) visit(rank);
  }
}

}  // namespace

std::int64_t Communicator::Cargo::size(const std::vector<std::vector<int>>& nodes, int first, int count) const {
  std::int64_t sum = 0;
  for_each_rank(nodes, first, count, [&](int) { sum += bytes; });
  return sum;
}

std::int64_t Communicator::Cargo::pack(const std::vector<std::vector<int>>& nodes, int first, int count,
                                       char* to) const {
  std::int64_t at = 0;
  for_each_rank(nodes, first, count, [&](int rank) {
    if (bytes > 0) std::memcpy(to + at, of(rank), static_cast<std::size_t>(bytes));
    at += bytes;
  });
  return at;
}

void Communicator::Cargo::unpack(const std::vector<std::vector<int>>& nodes, int first, int count,
                                 const char* from) const {
  std::int64_t at = 0;
  for_each_rank(nodes, first, count, [&](int rank) {
    if (bytes > 0) std::memcpy(of(rank), from + at, static_cast<std::size_t>(bytes));
    at += bytes;
  });
}

/// To a program all ranks are one node, which meets once: where they agree. A rank's staging area is its block.
struct Communicator::Carrier final : Local {
  Carrier(Communicator& owner, const Cargo& load, const Fingerprint& fingerprint)
      : comm(owner), cargo(load), mine(fingerprint) {}
  void meet(const Deadline& deadline) override { comm.act_on(comm.agree(mine, deadline, &cargo), mine); }
  std::int64_t claim_segments(std::int64_t) override { return 0; }
  char* staging(int rank, unsigned) const override { return cargo.of(rank); }
  std::int64_t staging_bytes() const override { return kStagingBytes; }
  char* inline_staging(int rank, unsigned) const override { return cargo.of(rank); }
  std::int64_t inline_bytes() const override { return 0; }

  Communicator& comm;
  const Cargo& cargo;
  const Fingerprint& mine;
};

/// A schedule of one round needs only what ranks hold at the start.
std::shared_ptr<const Program> Communicator::compile_carried(const Schedule& schedule) const {
  if (!spans_nodes_ || match(schedule).rounds > 1) return nullptr;
  auto program = compile(schedule, setup_.rank, std::vector<int>(static_cast<std::size_t>(setup_.size), 0));
  return program.rounds.size() == 1 ? std::make_shared<const Program>(std::move(program)) : nullptr;
}

/// The same answer on all ranks whose fingerprints are equal.
bool Communicator::carries(const Prepared& p, Cargo& cargo) const {
  if (!p.carried || p.counts) return false;
  const std::int64_t item = static_cast<std::int64_t>(item_size(p.call.dtype));
  const std::int64_t slots = p.carried->slots, largest = p.staged_layout->largest;
  if (largest > kCarried || slots > kCarried) return false;
  const std::int64_t before_last =
      std::max<std::int64_t>(slots - 1, 0) * round_up(std::max<std::int64_t>(largest, 1) * item, kLine);
  cargo.bytes = largest > 0 ? before_last + largest * item : 0;
  cargo.stride = round_up(cargo.bytes, kLine);
  return cargo.bytes * setup_.size <= kCarried;
}

/// The blocks lie in the staging area of the node's lowest rank, who speaks for it.
void Communicator::run_carried(const Prepared& p, Cargo& cargo, const Deadline& deadline, const Fingerprint& mine) {
  if (node_) {
    const auto half = static_cast<unsigned>(node_->claim_segments(1) & 1);
    cargo.blocks = node_->staging(node_->ranks().front(), half);
  } else {
    cargo.blocks = blocks_.reserve(std::max<std::int64_t>(cargo.stride * setup_.size, 1));
  }
  Carrier all(*this, cargo, mine);
  Engine engine(setup_.rank, &all, nullptr);
  engine.run(*p.carried, bind(p, *p.staged_layout), deadline, {}, false, 0);
  engine_.note_failure(engine.take_failure());
  ++carried_runs_;
}

}  // namespace pyccl
