// The counts of an uneven all_to_all: known to all ranks, and compared, before any payload moves.
#include "comm/communicator.h"
#include "core/error.h"

namespace pyccl {

bool Communicator::prepare_counts(Prepared& p) {
  auto exchange = std::make_shared<CountsExchange>();
  exchange->own = p.call.send_counts;
  exchange->own.insert(exchange->own.end(), p.call.recv_counts.begin(), p.call.recv_counts.end());
  exchange->all.resize(exchange->own.size() * static_cast<std::size_t>(setup_.size));
  Call& call = exchange->gather.call;
  call.kind = Collective::AllGather;
  call.dtype = DataType::I64;
  call.input = exchange->own.data();
  call.output = exchange->all.data();
  call.count = static_cast<std::int64_t>(exchange->all.size());
  if (!prepare(exchange->gather)) {
    p.call = call;
    return false;
  }
  p.counts = std::move(exchange);
  return true;
}

Layout Communicator::exchange_counts(const Prepared& p, const Deadline& deadline) {
  const Prepared& gather = p.counts->gather;
  engine_.run(*gather.staged, bind(gather, *gather.staged_layout), deadline, {}, false,
              static_cast<int>(sequence_ % 4096));
  const std::vector<std::int64_t>& all = p.counts->all;
  const auto size = static_cast<std::size_t>(setup_.size);
  for (std::size_t src = 0; src < size; ++src) {
    for (std::size_t dst = 0; dst < size; ++dst) {
      const std::int64_t sent = all[2 * size * src + dst], expected = all[2 * size * dst + size + src];
      if (sent == expected) continue;
      if (node_) node_->meet(deadline);  // nobody may write the staging area while others read it
      throw MismatchError("ranks disagree: in all_to_all #" + std::to_string(sequence_) + " rank " +
                          std::to_string(src) + " sends " + std::to_string(sent) + " elements to rank " +
                          std::to_string(dst) + ", rank " + std::to_string(dst) + " expects " +
                          std::to_string(expected));
    }
  }
  return make_layout(all, setup_.rank, setup_.size);
}

}  // namespace pyccl
