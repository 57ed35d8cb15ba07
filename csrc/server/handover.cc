#include "server/handover.h"

#include <algorithm>
#include <cstring>

namespace pyccl::server {
namespace {

constexpr std::size_t kStateBytes = kPieceElements * 4;

}  // namespace

Handover::Handover(const Shard& shard, int number, int to, std::uint32_t term)
    : shard_(shard), number_(number), to_(to), term_(term) {
  BytesOut out;
  shard.save(out);
  state_ = out.bytes();
  for (const auto& [table, made] : shard.tables()) tables_.push_back(table);
}

Record* Handover::begin(Outlet& outlet, Kind kind, std::int64_t payload) {
  Record* record = outlet.reserve(record_bytes(payload));
  if (record == nullptr) return nullptr;
  record->kind = kind;
  record->shard = static_cast<std::uint16_t>(number_);
  record->term = term_;
  moved_ = true;
  return record;
}

bool Handover::advance(Outlet& outlet) {
  moved_ = false;
  while (sent_ < state_.size()) {
    const std::size_t count = std::min(kStateBytes, state_.size() - sent_);
    Record* record = begin(outlet, Kind::State, static_cast<std::int64_t>(count));
    if (record == nullptr) return false;
    record->piece = static_cast<std::int32_t>(sent_ / kStateBytes);
    record->pieces = static_cast<std::int32_t>((state_.size() + kStateBytes - 1) / kStateBytes);
    record->count = static_cast<std::int32_t>(count);
    std::memcpy(record->payload(), state_.data() + sent_, count);
    outlet.publish(*record);
    sent_ += count;
  }
  for (; table_ < tables_.size(); ++table_, place_ = 0) {
    const Storage& storage = shard_.table(tables_[table_])->storage();
    for (;;) {
      Record* record = begin(outlet, Kind::Load, storage.part_bytes());
      if (record == nullptr) return false;
      record->table = tables_[table_];
      if (!storage.copy(place_, *record)) break;  // what was reserved is not published
      outlet.publish(*record);
    }
  }
  Record* ready = begin(outlet, Kind::Ready, 0);
  if (ready == nullptr) return false;
  outlet.publish(*ready);
  return true;
}

}  // namespace pyccl::server
