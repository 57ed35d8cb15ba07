// Who hears of a communicator's long waits and failures.
#include <utility>

#include "comm/communicator.h"

namespace pyccl {

void Communicator::set_observer(double stall, Stall::Report stalled, std::function<void(const Error&)> failed) {
  failed_ = std::move(failed);
  stall_.set(stall, stalled);
  exchange_.stall().set(stall, stalled);
  if (node_) node_->stall().set(stall, std::move(stalled));
}

/// Of a disagreement, and once of what has broken the communicator.
void Communicator::tell(const std::exception& error) {
  const auto* ours = dynamic_cast<const Error*>(&error);
  if (!ours || !failed_) return;
  const bool disagreement = dynamic_cast<const MismatchError*>(&error) != nullptr;
  if (disagreement || (health_.broken() && !std::exchange(told_, true))) failed_(*ours);
}

}  // namespace pyccl
