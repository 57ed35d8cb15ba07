#include "server/client.h"

#include <sched.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "engine/deadline.h"
#include "kernels/kernels.h"
#include "server/attending.h"

namespace pyccl::server {
namespace {

constexpr double kLook = 0.05;

}  // namespace

Client::Client(std::shared_ptr<Group> group, double timeout, std::function<void()> poll, std::shared_ptr<Service> own,
               std::shared_ptr<Courier> courier)
    : group_(std::move(group)), timeout_(timeout), poll_(std::move(poll)), own_(std::move(own)),
      courier_(std::move(courier)) {
  const auto shards = static_cast<std::size_t>(group_->shards());
  for (int server = 0; server < group_->servers(); ++server) {
    for (int shard = 0; shard < group_->shards(); ++shard)
      outlets_.emplace_back(group_->requests(server, shard, group_->own_client()));
  }
  view_ = group_->first();
  for (int shard = 0; shard < group_->shards(); ++shard) owners_.push_back(view_.owner(shard));
  terms_.assign(shards, view_.term);
  back_.resize(shards);
  issued_.assign(shards, 0);
  done_.assign(shards, 0);
  rows_.resize(shards);
}

void Client::add_dense(int table, std::string name, kernels::Codec wire, std::vector<std::int64_t> bounds, int slots,
                       bool prompt) {
  if (table != static_cast<int>(tables_.size())) throw std::invalid_argument("tables are numbered in order");
  const bool stream = bounds.back() * 4 * group_->clients() >= kernels::kCacheBytes;
  tables_.push_back(
      {std::move(name), wire, std::move(bounds), 0, slots, -1, prompt, stream, Ticket(issued_.size(), 0), {}});
}

void Client::add_sparse(int table, std::string name, kernels::Codec wire, std::int64_t dim, int slots, int home) {
  if (table != static_cast<int>(tables_.size())) throw std::invalid_argument("tables are numbered in order");
  tables_.push_back({std::move(name), wire, {}, dim, slots, home, false, false, {}, {}});
}

std::vector<int> Client::shards_of(const TableInfo& table) const {
  if (table.home >= 0) return {table.home};
  std::vector<int> shards;
  for (int shard = 0; shard < group_->shards(); ++shard) {
    const auto i = static_cast<std::size_t>(shard);
    if (table.bounds.empty() || table.bounds[i] < table.bounds[i + 1]) shards.push_back(shard);
  }
  return shards;
}

void Client::check_owned(const std::vector<int>& shards) const {
  std::string lost;
  for (const int shard : shards) {
    if (owners_[static_cast<std::size_t>(shard)] < 0) lost += (lost.empty() ? "" : ", ") + std::to_string(shard);
  }
  if (lost.empty()) return;
  throw ServerLost(
      "shard(s) " + lost + " of " + std::to_string(group_->shards()) + " of the parameter server are gone: " +
      "their servers have died, and no replica holds them (replicas=" + std::to_string(group_->replicas()) + ")");
}

Record* Client::reserve(int shard, Kind kind, int table, std::int64_t payload) {
  check_owned({shard});
  const int owner = owners_[static_cast<std::size_t>(shard)];
  if (!back_[static_cast<std::size_t>(shard)].empty()) return nullptr;  // these go first
  Record* record = outlet(owner, shard).reserve(record_bytes(payload));
  if (record == nullptr) return nullptr;
  std::uint64_t& issued = issued_[static_cast<std::size_t>(shard)];
  record->kind = kind;
  record->shard = static_cast<std::uint16_t>(shard);
  record->table = table;
  record->client = group_->own_client();
  record->term = terms_[static_cast<std::size_t>(shard)];
  record->sequence = reads(kind) ? issued : ++issued;
  return record;
}

void Client::publish(Record& record) {
  const int owner = owners_[record.shard];
  outlet(owner, record.shard).publish(record);
  group_->knock(group_->rank_of(owner));
}

void Client::check_working(const std::string& what) const {
  if (finished_) throw CommError(what + ": this worker has finished");
}

Record& Client::make_room(int shard, Kind kind, int table, std::int64_t payload, const std::string& what) {
  Record* record = nullptr;
  request(what, [&] { return (record = reserve(shard, kind, table, payload)) != nullptr; });
  return *record;
}

Ticket Client::tell_all(Kind kind, const std::string& what) {
  for (int shard = 0; shard < group_->shards(); ++shard) {
    if (owners_[static_cast<std::size_t>(shard)] >= 0) publish(make_room(shard, kind, -1, 0, what));
  }
  return issued_;
}

Ticket Client::clock() {
  const std::lock_guard lock(mutex_);
  check_working("clock()");
  return tell_all(Kind::Clock, "clock()");
}

void Client::leave() {
  const std::lock_guard lock(mutex_);
  if (std::exchange(finished_, true)) return;
  broken_.clear();  // whatever has happened, nobody is to wait for this client
  const Ticket ticket = tell_all(Kind::Leave, "close()");
  drive("close()", timeout_, [&] { return reached(ticket); });
}

Ticket Client::asked_of(const std::vector<int>& shards) const {
  Ticket ticket(issued_.size(), 0);
  for (const int shard : shards) ticket[static_cast<std::size_t>(shard)] = issued_[static_cast<std::size_t>(shard)];
  return ticket;
}

bool Client::reached(const Ticket& ticket) const {
  for (std::size_t i = 0; i < ticket.size(); ++i) {
    if (owners_[i] >= 0 && done_[i] < ticket[i]) return false;
  }
  return true;
}

bool Client::done(const Ticket& ticket) {
  const std::lock_guard lock(mutex_);
  advance();
  return reached(ticket);
}

void Client::wait(const Ticket& ticket, double timeout) {
  const std::lock_guard lock(mutex_);
  drive("wait()", timeout, [&] { return reached(ticket); });
  std::vector<int> asked;
  for (std::size_t i = 0; i < ticket.size(); ++i) {
    if (done_[i] < ticket[i]) asked.push_back(static_cast<int>(i));
  }
  check_owned(asked);
}

Client::Seen Client::seen(int table) {
  const std::lock_guard lock(mutex_);
  advance();
  return info(table).seen;
}

/// Takes in an answer.
void Client::land(const Record& record) {
  const std::size_t shard = record.shard;
  if (record.status == Status::Refused) {
    refused_ = "a server has refused request " + std::to_string(record.sequence) + " to shard " + std::to_string(shard);
  }
  if (record.status == Status::Moved) {
    back_[shard].emplace_back(reinterpret_cast<const char*>(&record), record.bytes);
    return;
  }
  if (reads(record.kind)) {
    if (rows_[shard].empty()) return;  // nobody waits any more
    const auto take = std::move(rows_[shard].front());
    rows_[shard].pop_front();
    return take(record);
  }
  done_[shard] = std::max(done_[shard], record.sequence);
  if ((record.kind != Kind::Push && record.kind != Kind::PushRows) || !record.last()) return;
  Seen& seen = info(record.table).seen;
  const auto bin = static_cast<std::size_t>(std::clamp<std::int64_t>(record.version, 0, 1023));
  if (seen.staleness.size() <= bin) seen.staleness.resize(bin + 1);
  ++seen.staleness[bin];
  ++(record.fate == policy::Fate::Dropped ? seen.dropped : seen.applied);
}

bool Client::advance() {
  if (group_->term() != view_.term) follow_view();
  bool moved = false;
  for (int shard = 0; shard < group_->shards(); ++shard) {
    const int owner = owners_[static_cast<std::size_t>(shard)];
    if (owner < 0) continue;
    Outlet& mine = outlet(owner, shard);
    if (!back_[static_cast<std::size_t>(shard)].empty() && mine.idle()) {
      follow_owner(shard);
      moved = true;
      continue;
    }
    if (mine.flush()) {
      moved = true;
      group_->knock(group_->rank_of(owner));
    }
    while (const Record* record = mine.reap()) {
      land(*record);
      moved = true;
    }
  }
  if (!refused_.empty()) throw Error(std::exchange(refused_, ""));
  return moved;
}

/// Requests that were cut short cannot be taken up again, and their arrays must not be written any more.
void Client::give_up(const std::string& why) {
  if (broken_.empty()) broken_ = why;
  for (auto& waiting : rows_) waiting.clear();
}

void Client::request(const std::string& what, const std::function<bool()>& ready) {
  if (!broken_.empty()) throw CommError("this client of the parameter server cannot go on: " + broken_);
  try {
    drive(what, timeout_, ready);
  } catch (const ServerLost& error) {
    // Nothing more can be asked of a table that has lost a shard; the others are whole.
    const auto empty = [](const auto& waiting) { return waiting.empty(); };
    if (!std::all_of(rows_.begin(), rows_.end(), empty)) give_up(error.what());
    throw;
  } catch (const std::exception& error) {
    give_up(error.what());
    throw;
  }
}

/// Does what others of this process would do; true if anything moved.
bool Client::help() {
  if (courier_) courier_->check();
  return (own_ && own_->help()) | (courier_ && courier_->help());
}

void Client::drive(const std::string& what, double timeout, const std::function<bool()>& ready) {
  advance();
  if (ready()) return;
  const double begun = monotonic_seconds();
  double looked = begun, last = begun;
  const auto& policy = group_->policy();
  shm::Bell& bell = group_->line(group_->rank()).client;
  const Attending attending(own_.get());
  for (int idle = 0;;) {
    const bool moved = advance() | help();
    if (ready()) return;
    const double now = monotonic_seconds();
    if (moved) {
      idle = 0;
      last = now;
    } else if (policy.crowded ? ++idle < policy.yields : now < last + policy.spin) {
      sched_yield();
    } else {
      shm::sleep(bell, kLook, [&] { return advance() | help() || ready(); });
    }
    if (now - looked < kLook) continue;
    looked = now;
    group_->look();
    if (poll_) {
      const Attending::Pause pause(attending);
      poll_();
    }
    if (now - begun > timeout) time_out(what, timeout);
  }
}

void Client::time_out(const std::string& what, double timeout) const {
  std::string waits;
  std::vector<int> ranks;
  for (std::size_t shard = 0; shard < owners_.size(); ++shard) {
    if (owners_[shard] < 0 || done_[shard] >= issued_[shard]) continue;
    waits += (waits.empty() ? "" : ", ") + ("shard " + std::to_string(shard) + " on " + group_->name(owners_[shard]));
    ranks.push_back(group_->rank_of(owners_[shard]));
  }
  throw Timeout(
      what + " timed out after " + format_seconds(timeout) + ": no answer for " + (waits.empty() ? "anything" : waits),
      ranks);
}

}  // namespace pyccl::server
