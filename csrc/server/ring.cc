#include "server/ring.h"

#include <stdexcept>

namespace pyccl::server {

Record* Reader::peek() {
  const std::uint64_t head = ring_->head.load(std::memory_order_acquire);
  while (next_ < head) {
    Record& record = ring_->at(next_);
    const std::uint64_t room = kRingBytes - next_ % kRingBytes;
    if (record.bytes < sizeof(Record) || record.bytes % 64 != 0 || record.bytes > room || next_ + record.bytes > head)
      throw std::runtime_error("a record of " + std::to_string(record.bytes) + " bytes in a ring is damaged");
    if (record.kind != Kind::Filler) return &record;
    next_ += record.bytes;
  }
  return nullptr;
}

void Reader::take(int shard, std::uint64_t log) {
  next_ += ring_->at(next_).bytes;
  taken_.push_back({next_, log, shard});
}

}  // namespace pyccl::server
