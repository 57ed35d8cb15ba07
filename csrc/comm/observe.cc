// Who hears of a communicator's long waits and failures.
#include "comm/communicator.h"

namespace pyccl {

void Communicator::set_observer(double stall, Stall::Report stalled, std::function<void(const Error&)> failed) {
  failed_ = std::move(failed);
  stall_.set(stall, stalled);
  exchange_.stall().set(stall, stalled);
  if (node_) node_->stall().set(stall, std::move(stalled));
}

void Communicator::tell(const std::exception& error) const {
  if (const auto* ours = dynamic_cast<const Error*>(&error); ours && failed_) failed_(*ours);
}

}  // namespace pyccl
