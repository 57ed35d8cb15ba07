#include "server/shard.h"

#include <algorithm>
#include <cstring>

namespace pyccl::server {
namespace {

std::vector<Contributor> contributors(const Record& step) {
  std::vector<Contributor> all(static_cast<std::size_t>(step.client));
  std::memcpy(all.data(), step.payload(), all.size() * sizeof(Contributor));
  return all;
}

}  // namespace

Table* Shard::table(int number) const {
  const auto found = tables_.find(number);
  return found == tables_.end() ? nullptr : found->second.get();
}

std::vector<int> Shard::active() const {
  std::vector<int> clients;
  for (std::size_t client = 0; client < gone_.size(); ++client) {
    if (!gone_[client]) clients.push_back(static_cast<int>(client));
  }
  return clients;
}

bool Shard::accepts(const Record& record) const {
  if (record.client < 0 || record.client >= static_cast<int>(gone_.size())) return false;
  if (gone(record.client) && !reads(record.kind)) return false;
  if (record.kind == Kind::Clock || record.kind == Kind::Leave) return true;
  const Table* found = table(record.table);
  if (found == nullptr) return false;
  return record.kind == Kind::Begin || found->storage().accepts(record);
}

bool Shard::follows(const Record& change) const {
  if (change.kind != Kind::Step) return !reads(change.kind) && accepts(change);
  const Table* found = table(change.table);
  const std::int64_t named = std::int64_t{change.client} * static_cast<std::int64_t>(sizeof(Contributor));
  if (found == nullptr || change.client < 1 || change.client > std::ssize(gone_) || change.count < 0 ||
      named + 4 * std::int64_t{change.count} > payload_room(change))
    return false;
  for (const Contributor& one : contributors(change)) {
    if (one.client < 0 || one.client >= std::ssize(gone_)) return false;
  }
  Record piece = change;
  piece.kind = Kind::Push;
  return averaged(piece) && found->storage().accepts(piece);
}

bool Shard::averaged(const Record& record) const {
  const Table* found = table(record.table);
  return record.kind == Kind::Push && found != nullptr && found->flow() == Flow::Averaged;
}

bool Shard::ready(const Record& record) {
  if (record.kind == Kind::Clock) {
    return std::all_of(tables_.begin(), tables_.end(), [&](const auto& entry) {
      return entry.second->flow() != Flow::Clocked || entry.second->open(record.client);
    });
  }
  if (record.kind == Kind::Begin || record.kind == Kind::Push || record.kind == Kind::PushRows)
    return table(record.table)->open(record.client);
  return true;
}

void Shard::apply(Record& record) {
  if (reads(record.kind)) return table(record.table)->storage().read(record);
  record.log = ++log_;
  if (record.kind == Kind::Step) return step(record);
  const int client = record.client;
  done_[static_cast<std::size_t>(client)] = record.sequence;
  switch (record.kind) {
    case Kind::Begin: record.version = table(record.table)->begin(client); break;
    case Kind::Push:
    case Kind::PushRows: table(record.table)->push(record); break;
    case Kind::Load: table(record.table)->storage().load(record); break;
    case Kind::Clock:
      for (auto& [number, made] : tables_) {
        if (made->flow() == Flow::Clocked) made->clock(client);
      }
      break;
    case Kind::Leave:
      gone_[static_cast<std::size_t>(client)] = 1;
      for (auto& [number, made] : tables_) made->leave(client);
      break;
    default: break;
  }
}

void Shard::step(const Record& record) {
  std::vector<int> clients;
  const std::vector<Contributor> all = contributors(record);
  for (const Contributor& c : all) {
    clients.push_back(static_cast<int>(c.client));
    done_[static_cast<std::size_t>(c.client)] = c.sequence;
  }
  table(record.table)->push_mean(record, record.payload() + all.size() * sizeof(Contributor), clients);
}

void Shard::save(BytesOut& out) const {
  out.put(done_);
  out.put(gone_);
  out.put(log_);
  for (const auto& [number, made] : tables_) {
    made->save(out);
    made->storage().save(out);
  }
}

void Shard::restore(BytesIn& in) {
  in.get(done_);
  in.get(gone_);
  in.get(log_);
  for (const auto& [number, made] : tables_) {
    made->restore(in);
    made->storage().restore(in);
  }
}

}  // namespace pyccl::server
