// Pushes and pulls, cut into records.
#include <sched.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "server/client.h"

namespace pyccl::server {

bool Client::send_piece(const TableInfo& info, int table, int shard, std::int64_t piece, const float* gradient) {
  const auto i = static_cast<std::size_t>(shard);
  const std::int64_t count = info.bounds[i + 1] - info.bounds[i], begin = piece * kPieceElements;
  const std::int64_t length = std::min(kPieceElements, count - begin);
  Record* record = reserve(shard, Kind::Push, table, kernels::encoded_bytes(info.wire, length));
  if (record == nullptr) return false;
  record->piece = static_cast<std::int32_t>(piece);
  record->pieces = static_cast<std::int32_t>(DenseMemory::pieces(count));
  record->count = static_cast<std::int32_t>(length);
  record->wire = info.wire;
  kernels::encode(info.wire, record->payload(), gradient + info.bounds[i] + begin, length);
  publish(*record);
  return true;
}

Ticket Client::push(int table, const float* gradient) {
  const std::lock_guard lock(mutex_);
  const TableInfo& t = info(table);
  const std::vector<int> shards = shards_of(t);
  const std::string what = "push('" + t.name + "')";
  check_working(what);
  check_owned(shards);
  // All servers are kept busy: one piece to each in turn.
  std::vector<std::int64_t> next(shards.size(), 0);
  std::size_t left = shards.size();
  const auto send = [&] {
    for (bool moved = true; moved && left > 0;) {
      moved = false;
      for (std::size_t i = 0; i < shards.size(); ++i) {
        const auto s = static_cast<std::size_t>(shards[i]);
        const std::int64_t pieces = DenseMemory::pieces(t.bounds[s + 1] - t.bounds[s]);
        if (next[i] == pieces || !send_piece(t, table, shards[i], next[i], gradient)) continue;
        moved = true;
        if (++next[i] == pieces) --left;
      }
    }
    return left == 0;
  };
  request(what, send);
  return issued_;
}

/// Who has finished reads without asking the rule.
void Client::begin(const std::vector<int>& shards, int table, const std::string& what) {
  for (const int shard : shards) {
    if (!finished_) publish(make_room(shard, Kind::Begin, table, 0, what));
  }
}

DenseMemory Client::memory(int table, int shard) const {
  const TableInfo& t = tables_[static_cast<std::size_t>(table)];
  const auto i = static_cast<std::size_t>(shard);
  const int owner = owners_[i];
  const std::int64_t place = group_->place(table, shard, owner).load(std::memory_order_acquire);
  if (place == 0) throw std::logic_error("server " + group_->name(owner) + " does not hold table '" + t.name + "'");
  return {group_->heap(owner) + place - 1, t.bounds[i + 1] - t.bounds[i], t.slots};
}

bool Client::read_shard(int table, int shard, int column, float* out, std::int64_t* steps) const {
  const DenseMemory from = memory(table, shard);
  for (std::int64_t piece = 0; piece < DenseMemory::pieces(from.count()); ++piece) {
    std::int64_t* made = steps == nullptr ? nullptr : steps + piece;
    for (int tries = 0; !from.read(piece, column, out + from.begin(piece), made); ++tries) {
      if (tries == 1000) return false;
      sched_yield();
    }
  }
  return true;
}

void Client::pull(int table, float* out) {
  const std::lock_guard lock(mutex_);
  const TableInfo& t = info(table);
  const std::string what = "pull('" + t.name + "')";
  std::vector<int> shards = shards_of(t);
  check_owned(shards);
  begin(shards, table, what);
  const Ticket begun = issued_;
  request(what, [&] {
    check_owned(shards);
    std::erase_if(shards, [&](int shard) {
      const auto i = static_cast<std::size_t>(shard);
      return done_[i] >= begun[i] && read_shard(table, shard, 0, out + t.bounds[i]);
    });
    return shards.empty();
  });
}

void Client::read(int table, int shard, int column, float* out, std::int64_t* steps) {
  const std::lock_guard lock(mutex_);
  request("save()", [&] {
    check_owned({shard});
    return read_shard(table, shard, column, out, steps);
  });
}

Ticket Client::load(int table, int shard, int column, const float* values, const std::int64_t* steps) {
  const std::lock_guard lock(mutex_);
  const TableInfo& t = info(table);
  const auto i = static_cast<std::size_t>(shard);
  const std::int64_t count = t.bounds[i + 1] - t.bounds[i], pieces = DenseMemory::pieces(count);
  for (std::int64_t piece = 0; piece < pieces; ++piece) {
    const std::int64_t begin = piece * kPieceElements, length = std::min(kPieceElements, count - begin);
    Record& record = make_room(shard, Kind::Load, table, length * 4, "load()");
    record.piece = static_cast<std::int32_t>(piece);
    record.pieces = static_cast<std::int32_t>(pieces);
    record.count = static_cast<std::int32_t>(length);
    record.column = static_cast<std::uint8_t>(column);
    record.version = steps[piece];
    std::memcpy(record.payload(), values + begin, static_cast<std::size_t>(length) * 4);
    publish(record);
  }
  return issued_;
}

}  // namespace pyccl::server
