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

Client::Sending Client::start_sending(int table, const std::vector<int>& shards) {
  TableInfo& t = info(table);
  for (const int shard : shards) {
    const auto i = static_cast<std::size_t>(shard);
    t.pushed[i] = issued_[i] + 1;
  }
  return {shards, std::vector<std::int64_t>(shards.size(), 0), shards.size()};
}

/// Sends what there is room for, one piece to each server in turn, so that all are kept busy. True when it was the
/// last.
bool Client::send(int table, const float* gradient, Sending& sending) {
  const TableInfo& t = info(table);
  for (bool moved = true; moved && sending.left > 0;) {
    moved = false;
    for (std::size_t i = 0; i < sending.shards.size(); ++i) {
      const auto s = static_cast<std::size_t>(sending.shards[i]);
      const std::int64_t pieces = DenseMemory::pieces(t.bounds[s + 1] - t.bounds[s]);
      if (sending.next[i] == pieces || !send_piece(t, table, sending.shards[i], sending.next[i], gradient)) continue;
      moved = true;
      if (++sending.next[i] == pieces) --sending.left;
    }
  }
  return sending.left == 0;
}

Ticket Client::push(int table, const float* gradient) {
  const std::lock_guard lock(mutex_);
  const std::vector<int> shards = shards_of(info(table));
  const std::string what = "push('" + info(table).name + "')";
  check_working(what);
  check_owned(shards);
  Sending sending = start_sending(table, shards);
  request(what, [&] { return send(table, gradient, sending); });
  return asked_of(shards);
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
    for (int tries = 0; !from.read(piece, column, out + from.begin(piece), false, made); ++tries) {
      if (tries == 1000) return false;
      sched_yield();
    }
  }
  return true;
}

std::vector<Client::Reading> Client::start_reading(const std::vector<int>& shards) const {
  std::vector<Reading> readings;
  for (const int shard : shards)
    readings.push_back({.shard = shard, .owner = owners_[static_cast<std::size_t>(shard)]});
  return readings;
}

bool Client::read_on(int table, Reading& reading, float* out) {
  const TableInfo& t = tables_[static_cast<std::size_t>(table)];
  const auto shard = static_cast<std::size_t>(reading.shard);
  if (owners_[shard] < 0) return false;  // who asks next is told that it is lost
  if (const int owner = owners_[shard]; owner != reading.owner && !reading.fetching) {
    reading = {.shard = reading.shard, .owner = owner, .asked = reading.asked, .begun = reading.begun};
  }
  if (reading.fetching || far(reading.shard)) {
    if (!reading.asked) return false;
    reading.fetching = true;
    return fetch(table, reading.shard, 0, reading.next, out + t.bounds[shard], nullptr) &&
           done_[shard] >= reading.begun;
  }
  const DenseMemory from = memory(table, reading.shard);
  const std::int64_t pieces = DenseMemory::pieces(from.count());
  const auto read = [&](std::int64_t piece, int tries) {
    while (!from.read(piece, 0, out + t.bounds[shard] + from.begin(piece), t.stream)) {
      if (--tries <= 0) return false;
      sched_yield();
    }
    return true;
  };
  const bool begun = reading.asked && done_[shard] >= reading.begun;
  if (!begun) {
    for (; t.prompt && reading.next < pieces; ++reading.next) {
      if (done_[shard] < t.pushed[shard] + static_cast<std::uint64_t>(reading.next)) return false;
      const std::uint32_t guard = from.guard(reading.next).load(std::memory_order_acquire);
      if (!read(reading.next, 1)) return false;
      reading.guards.push_back(guard);
    }
    return false;
  }
  for (; reading.checked < static_cast<std::int64_t>(reading.guards.size()); ++reading.checked) {
    const std::uint32_t seen = reading.guards[static_cast<std::size_t>(reading.checked)];
    if (from.guard(reading.checked).load(std::memory_order_acquire) != seen && !read(reading.checked, 1000))
      return false;
  }
  for (; reading.next < pieces; ++reading.next) {
    if (!read(reading.next, 1000)) return false;
  }
  return true;
}

/// Asks to begin, and reads what has not been read yet.
void Client::read_whole(int table, std::vector<Reading>& readings, float* out, const std::string& what) {
  std::vector<int> shards;
  for (const Reading& reading : readings) shards.push_back(reading.shard);
  begin(shards, table, what);
  for (Reading& reading : readings) {
    reading.asked = true;
    reading.begun = issued_[static_cast<std::size_t>(reading.shard)];
  }
  request(what, [&] {
    std::erase_if(readings, [&](Reading& reading) {
      check_owned({reading.shard});
      return read_on(table, reading, out);
    });
    return readings.empty();
  });
}

void Client::pull(int table, float* out) {
  const std::lock_guard lock(mutex_);
  const std::vector<int> shards = shards_of(info(table));
  check_owned(shards);
  std::vector<Reading> readings = start_reading(shards);
  read_whole(table, readings, out, "pull('" + info(table).name + "')");
}

Ticket Client::push_pull(int table, const float* gradient, float* out) {
  const std::lock_guard lock(mutex_);
  const std::vector<int> shards = shards_of(info(table));
  const std::string what = "push_pull('" + info(table).name + "')";
  check_working(what);
  check_owned(shards);
  Sending sending = start_sending(table, shards);
  std::vector<Reading> readings = start_reading(shards);
  request(what, [&] {
    const bool sent = send(table, gradient, sending);
    for (Reading& reading : readings) read_on(table, reading, out);
    return sent;
  });
  const Ticket pushed = asked_of(shards);
  read_whole(table, readings, out, what);
  return pushed;
}

/// Asks for pieces of a shard's column from `next` on, which follow what has been asked before; true once all are here.
bool Client::fetch(int table, int shard, int column, std::int64_t& next, float* out, std::int64_t* steps) {
  const TableInfo& t = tables_[static_cast<std::size_t>(table)];
  const auto i = static_cast<std::size_t>(shard);
  const std::int64_t count = t.bounds[i + 1] - t.bounds[i], pieces = DenseMemory::pieces(count);
  for (; next < pieces; ++next) {
    const std::int64_t begin = next * kPieceElements, length = std::min(kPieceElements, count - begin);
    Record* record = reserve(shard, Kind::Read, table, length * 4);
    if (record == nullptr) return false;
    record->piece = static_cast<std::int32_t>(next);
    record->pieces = static_cast<std::int32_t>(pieces);
    record->count = static_cast<std::int32_t>(length);
    record->column = static_cast<std::uint8_t>(column);
    rows_[i].push_back([to = out + begin, made = steps == nullptr ? nullptr : steps + next](const Record& answer) {
      std::memcpy(to, answer.payload(), static_cast<std::size_t>(answer.count) * 4);
      if (made != nullptr) *made = answer.version;
    });
    publish(*record);
  }
  return rows_[i].empty();
}

void Client::read(int table, int shard, int column, float* out, std::int64_t* steps) {
  const std::lock_guard lock(mutex_);
  std::int64_t next = 0;
  bool fetching = false;
  request("save()", [&] {
    check_owned({shard});
    fetching |= far(shard);
    if (fetching) return fetch(table, shard, column, next, out, steps);
    return read_shard(table, shard, column, out, steps);
  });
}

Ticket Client::load(int table, int shard, int column, const float* values, const std::int64_t* steps) {
  const std::lock_guard lock(mutex_);
  check_working("load()");
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
