// What every operation passes: a broken communicator is not used again, and a failure breaks it on all ranks of the node.
#include "comm/communicator.h"
#include "comm/verdict.h"
#include "core/error.h"

namespace pyccl {

void Communicator::check_usable() const {
  if (broken_.empty()) return;
  if (node_ && node_->broken()) node_->throw_broken();
  throw CommError("the communicator is broken: " + broken_);
}

void Communicator::break_with(const std::exception& error) {
  broken_ = error.what();
  const std::string text = "rank " + std::to_string(setup_.rank) + " failed: " + broken_;
  if (node_) node_->break_off(shm::Broken::Error, setup_.rank, text);
}

/// Every collective passes here: one at a time, numbered, and a failure that not all ranks share breaks the communicator.
void Communicator::guarded(double timeout, const std::function<void(const Deadline&)>& operation) {
  const std::lock_guard lock(order_);
  check_usable();
  ++sequence_;
  const Deadline deadline(timeout >= 0 ? timeout : setup_.timeout, &poll_);
  try {
    operation(deadline);
  } catch (const Refused&) {
    if (node_) node_->realign();
    throw;
  } catch (const MismatchError&) {
    if (node_) node_->realign();
    throw;
  } catch (const PeerAborted&) {
    if (node_) node_->realign();
    throw;
  } catch (const std::exception& error) {
    break_with(error);
    throw;
  }
  if (node_) node_->set_operation(nullptr, "");
}

}  // namespace pyccl
