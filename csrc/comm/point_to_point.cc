// Messages between pairs of ranks, as operations of a communicator.
#include <utility>

#include "comm/communicator.h"
#include "core/error.h"
#include "shm/mailbox.h"

namespace pyccl {

/// Not collective, so not numbered with the collectives; but a failure here breaks the communicator all the same.
void Communicator::drive(const std::shared_ptr<Job>& job, Batch* batch) {
  const std::lock_guard lock(order_);
  running_.store(0, std::memory_order_relaxed);
  check_usable();
  const auto abandon = [this](const std::exception& error) {
    exchange_.abandon(std::current_exception(), error.what());
    tell(error);
  };
  try {
    if (job) exchange_.admit(job);
    exchange_.run(batch);
  } catch (const std::exception& error) {
    try {
      break_with(error);
    } catch (const CommError& behind) {
      abandon(behind);
      throw;
    }
    abandon(error);
    throw;
  }
}

void Communicator::transfer(std::vector<MessageCall> messages) {
  Job job;
  job.messages = std::move(messages);
  try {
    drive(std::shared_ptr<Job>(std::shared_ptr<void>(), &job), nullptr);
  } catch (const std::exception& error) {
    for (const MessageCall& m : job.messages) flight_.fail(m.ticket, error.what());
    throw;
  }
  if (job.mismatch.empty()) return;
  const MismatchError error(job.mismatch);
  tell(error);
  throw error;
}

void Communicator::serve(Batch& batch) {
  try {
    drive(nullptr, &batch);
  } catch (const std::exception& error) {
    batch.fail(std::current_exception(), error.what(), flight_);
  }
}

void Communicator::wake() {
  if (node_) shm::ring(node_->bell(setup_.rank));
}

}  // namespace pyccl
