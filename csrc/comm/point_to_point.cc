// Messages between pairs of ranks, as operations of a communicator.
#include <utility>

#include "comm/communicator.h"
#include "core/error.h"
#include "shm/mailbox.h"

namespace pyccl {

/// Not collective, so not numbered with the collectives; but a failure here breaks the communicator all the same.
void Communicator::drive(const std::shared_ptr<Job>& job, Batch* batch) {
  const std::lock_guard lock(order_);
  check_usable();
  try {
    if (job) exchange_.admit(job);
    exchange_.run(batch);
  } catch (const std::exception& error) {
    try {
      break_with(error);
    } catch (const CommError&) {
      exchange_.abandon(std::current_exception());
      throw;
    }
    exchange_.abandon(std::current_exception());
    throw;
  }
}

void Communicator::transfer(std::vector<MessageCall> messages) {
  Job job;
  job.messages = std::move(messages);
  drive(std::shared_ptr<Job>(std::shared_ptr<void>(), &job), nullptr);
  if (!job.mismatch.empty()) throw MismatchError(job.mismatch);
}

void Communicator::serve(Batch& batch) {
  try {
    drive(nullptr, &batch);
  } catch (const std::exception&) {
    batch.fail(std::current_exception());
  }
}

void Communicator::wake() {
  if (node_) shm::ring(node_->bell(setup_.rank));
}

}  // namespace pyccl
