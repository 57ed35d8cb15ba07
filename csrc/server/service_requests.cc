// What a server does with the records that come.
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "server/crash.h"
#include "server/service.h"

namespace pyccl::server {

/// Applies a record here and passes it on; false if the replica has no room for it now.
bool Service::commit(Record& record) {
  const int number = record.shard;
  if (stands_still(number)) return false;
  if (linked(number) < 0) {
    pass(Point::Taken);
    shard(number).apply(record);
    pass(Point::Applied);
    return true;
  }
  Record* copy = outlet(linked(number), number).reserve(record.bytes);
  if (copy == nullptr) return false;
  std::memcpy(static_cast<void*>(copy), &record, record.bytes);
  pass(Point::Taken);
  shard(number).apply(record);
  pass(Point::Applied);
  copy->log = record.log;
  copy->term = view_.term;
  publish(number, *copy);
  pass(Point::PassedOn);
  return true;
}

bool Service::serve(int client) {
  bool moved = false;
  for (int number = 0; number < group_->shards(); ++number) {
    if (!owns(number)) continue;
    Reader& reader = asked(number, client);
    while (Record* record = reader.peek()) {
      if (!take(number, client, *record)) break;
      moved = true;
    }
  }
  return moved;
}

/// Handles a client's next record; false if its turn has not come.
bool Service::take(int number, int client, Record& record) {
  Reader& reader = asked(number, client);
  Counters& mine = group_->counters(me_);
  if (record.shard != number || record.client != client) {
    record.status = Status::Refused;
    reader.take(0, 0);
    return true;
  }
  if (record.term > view_.term || !caught_up()) return false;
  Shard& here = shard(number);
  if (record.sequence <= here.done(client) && !reads(record.kind)) {
    // Who has gone may have left requests that came after its end was noted.
    if (record.kind == Kind::Begin && !here.gone(client)) record.version = here.table(record.table)->begin(client);
    mine.duplicates.fetch_add(1, std::memory_order_relaxed);
    reader.take(number, here.log());
    return true;
  }
  const std::uint64_t due = here.done(client) + (reads(record.kind) ? 0 : 1);
  if (record.sequence != due || !here.accepts(record)) {
    // Behind one that was sent back: so is this, and both come again.
    const bool behind = record.sequence > due && record.term < view_.term;
    record.status = behind ? Status::Moved : Status::Refused;
    reader.take(0, 0);
    return true;
  }
  const std::uint32_t bytes = record.bytes;
  if (here.averaged(record)) {
    if (!gather(number, record)) return false;
  } else {
    if (!here.ready(record)) return false;
    if (reads(record.kind)) here.apply(record);
    else if (!commit(record)) return false;
    reader.take(number, here.log());
  }
  if ((record.kind == Kind::Push || record.kind == Kind::PushRows) && record.last()) {
    (record.fate == policy::Fate::Dropped ? mine.dropped : mine.applied).fetch_add(1, std::memory_order_relaxed);
    mine.staleness.fetch_add(record.version, std::memory_order_relaxed);
  }
  mine.requests.fetch_add(1, std::memory_order_relaxed);
  mine.bytes.fetch_add(bytes, std::memory_order_relaxed);
  return true;
}

/// Requests of shards that others own now, by clients who go by an older view: they are to ask those. A view names as
/// owners only who holds a copy, so nobody has asked this server for any other shard.
bool Service::send_back() {
  stray_ = false;
  bool moved = false;
  for (int number = 0; number < group_->shards(); ++number) {
    if (view_.owner(number) == me_ || !shards_[static_cast<std::size_t>(number)]) continue;
    for (int client = 0; client < group_->clients(); ++client) {
      Reader& reader = asked(number, client);
      for (Record* record = reader.peek(); record != nullptr && record->term <= view_.term; record = reader.peek()) {
        record->status = Status::Moved;
        reader.take(0, 0);
        group_->counters(me_).moved.fetch_add(1, std::memory_order_relaxed);
        moved = true;
      }
    }
  }
  return moved;
}

/// Applies a piece's mean once all clients have sent theirs, in the order of their ranks.
bool Service::gather(int number, const Record& head) {
  if (stands_still(number)) return false;
  Shard& here = shard(number);
  std::vector<Record*> pieces;
  std::vector<const void*> sources;
  const std::vector<int> clients = here.active();
  for (const int client : clients) {
    Record* piece = asked(number, client).peek();
    if (piece == nullptr || piece->term > view_.term || piece->kind != Kind::Push || piece->shard != number ||
        piece->table != head.table || piece->piece != head.piece || piece->sequence != here.done(client) + 1 ||
        !here.accepts(*piece))
      return false;
    pieces.push_back(piece);
  }
  decoded_.resize(clients.size());
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    sources.push_back(pieces[i]->payload());
    if (pieces[i]->wire == kernels::Codec::Float32) continue;
    decoded_[i].resize(kPieceElements);
    kernels::decode(pieces[i]->wire, decoded_[i].data(), pieces[i]->payload(), head.count);
    sources[i] = decoded_[i].data();
  }
  const auto named = static_cast<std::int64_t>(clients.size() * sizeof(Contributor));
  const std::uint32_t bytes = record_bytes(named + 4 * head.count);
  const bool replicated = linked(number) >= 0;
  scratch_.resize((bytes + sizeof(Record) - 1) / sizeof(Record));
  Record* step = replicated ? outlet(linked(number), number).reserve(bytes) : scratch_.data();
  if (step == nullptr) return false;
  *step = head;
  step->bytes = bytes;
  step->kind = Kind::Step;
  step->wire = kernels::Codec::Float32;
  step->term = view_.term;
  step->client = static_cast<std::int32_t>(clients.size());
  for (std::size_t i = 0; i < clients.size(); ++i) {
    const Contributor one{pieces[i]->sequence, clients[i]};
    std::memcpy(step->payload() + i * sizeof one, &one, sizeof one);
  }
  here.table(head.table)->storage().mean(sources, reinterpret_cast<float*>(step->payload() + named), head.count);
  pass(Point::Taken);
  here.apply(*step);
  pass(Point::Applied);
  for (std::size_t i = 0; i < clients.size(); ++i) {
    pieces[i]->fate = policy::Fate::Applied;
    asked(number, clients[i]).take(number, step->log);
  }
  if (replicated) publish(number, *step);
  pass(Point::PassedOn);
  return true;
}

/// Ends what a dead client has not: nobody waits for it any more. What it has sent is done as far as it could be.
void Service::bury(int client) {
  for (int number = 0; number < group_->shards(); ++number) {
    if (!owns(number) || !caught_up() || shard(number).gone(client)) continue;
    Record leave;
    leave.kind = Kind::Leave;
    leave.shard = static_cast<std::uint16_t>(number);
    leave.client = client;
    leave.sequence = shard(number).done(client) + 1;
    commit(leave);
  }
}

}  // namespace pyccl::server
