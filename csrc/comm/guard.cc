// One operation at a time, numbered; and what becomes of a communicator when one fails.
#include <cstring>

#include "comm/communicator.h"
#include "comm/verdict.h"
#include "core/error.h"

namespace pyccl {

namespace {

/// The operation with this ticket, as far as the record still has it.
Fingerprint recorded(const Flight& flight, std::uint64_t ticket, std::uint32_t sequence) {
  Fingerprint f;
  f.kind = kCollectives;
  f.sequence = sequence;
  for (const FlightRecord& r : flight.read()) {
    if (r.number != ticket) continue;
    f.kind = r.entry.kind;
    f.op = r.entry.op;
    f.dtype = r.entry.dtype;
    f.algorithm = r.entry.algorithm;
    f.root = r.entry.peer;
    f.count = r.entry.count;
  }
  return f;
}

}  // namespace

void Communicator::check_usable() const {
  if (health_.broken()) health_.raise();
}

void Communicator::give_up(shm::Broken kind, const std::string& reason) {
  health_.break_off(shm::Cause::of(kind, {setup_.rank}, reason));
}

/// A library that fails because a peer has died may do so before that death is known here.
void Communicator::await_word() {
  constexpr int kLooks = 50;
  constexpr timespec kPause{0, 20'000'000};
  try {
    for (int i = 0; i < kLooks; ++i) {
      health_.look();
      nanosleep(&kPause, nullptr);
    }
  } catch (const PeerLost& lost) {
    health_.tell();
    const std::uint64_t ticket = running_.load(std::memory_order_relaxed);
    throw PeerLost(lost.what() + (" during " + describe_call(recorded(flight_, ticket, sequence_))), lost.rank);
  }
}

/// Throws in the place of `error` what lies behind it.
void Communicator::break_with(const std::exception& error) {
  if (dynamic_cast<const TransportError*>(&error)) await_word();
  const std::string text = error.what();
  if (const auto* late = dynamic_cast<const Timeout*>(&error)) {
    health_.break_off(shm::Cause::of(shm::Broken::Timeout, late->missing, text));
  } else if (dynamic_cast<const Interrupted*>(&error)) {
    give_up(shm::Broken::Interrupted, text);
  } else {  // of PeerLost and PeerAborted the reason has been given where they were thrown: it stays
    const std::string who = "rank " + std::to_string(setup_.rank) + " failed: ";
    health_.break_off(shm::Cause::of(shm::Broken::Error, {setup_.rank}, who + text));
  }
}

/// Every collective passes here: one at a time, numbered, and a failure that not all ranks share breaks the
/// communicator.
void Communicator::guarded(double timeout, std::uint64_t ticket,
                           const std::function<void(const Deadline&)>& operation) {
  const std::lock_guard lock(order_);
  try {
    perform(timeout, ticket, operation);
  } catch (const std::exception& error) {
    flight_.fail(ticket, error.what());
    tell(error);
    throw;
  }
  flight_.land(ticket);
}

void Communicator::perform(double timeout, std::uint64_t ticket,
                           const std::function<void(const Deadline&)>& operation) {
  check_usable();
  flight_.begin(ticket, ++sequence_);
  running_.store(ticket, std::memory_order_relaxed);
  const Deadline deadline(timeout >= 0 ? timeout : setup_.timeout, &poll_, &carry_, looks_);
  struct Forget {  // what describes the operation ends with it
    shm::Node* node;
    ~Forget() {
      if (node) node->set_operation(nullptr, "");
    }
  } forget{node_.get()};
  try {
    operation(deadline);
  } catch (const Refused&) {
    if (node_) node_->realign();
    throw;
  } catch (const MismatchError&) {
    if (node_) node_->realign();
    throw;
  } catch (const PeerAborted& error) {
    if (error.broken) break_with(error);
    else if (node_) node_->realign();
    throw;
  } catch (const PeerLost& error) {
    break_with(error);
    if (std::strchr(error.what(), '#') != nullptr) throw;  // names the operation already
    throw PeerLost(error.what() + (" during " + describe_call(recorded(flight_, ticket, sequence_))), error.rank);
  } catch (const std::exception& error) {
    break_with(error);
    throw;
  }
}

}  // namespace pyccl
