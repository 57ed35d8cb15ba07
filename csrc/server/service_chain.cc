// How replicas are kept: who passes changes on to whom, when servers die and others take their places.
#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/deadline.h"
#include "server/crash.h"
#include "server/service.h"

namespace pyccl::server {

bool Service::owns(int shard) const { return view_.owner(shard) == me_ && group_->ready(shard, me_); }

/// Whether everything that dead servers have passed on has been applied.
bool Service::caught_up() {
  for (std::size_t i = 0; i < predecessors_.size(); ++i) {
    if (dead_[i / dead_.size()] && in_line_[i % dead_.size()] && !predecessors_[i].empty()) return false;
  }
  return true;
}

/// All decisions of a turn follow from the view at its beginning.
void Service::look() {
  if (const std::uint32_t news = group_->news(); news != news_) {
    news_ = news;
    group_->lead();
  }
  if (group_->term() != view_.term) follow_view();
  const bool copying = std::any_of(handovers_.begin(), handovers_.end(), [](const auto& h) { return h != nullptr; });
  if (lost_since_ < 0 || copying || !caught_up()) return;
  Counters& mine = group_->counters(me_);
  mine.recovery_ns = static_cast<std::int64_t>((monotonic_seconds() - lost_since_) * 1e9);
  mine.failovers.fetch_add(1);
  lost_since_ = -1;
}

/// What is new in the view: who is gone, and who takes their places.
void Service::follow_view() {
  view_ = group_->view();
  stray_ = true;
  group_->counters(me_).term = static_cast<std::int64_t>(view_.term);
  std::vector<std::string> records;
  bool news = false;
  if (courier_) courier_->bury(view_);
  for (std::size_t server = 0; server < dead_.size(); ++server) {
    if (dead_[server] || view_.lives(group_->rank_of(static_cast<int>(server)))) continue;
    dead_[server] = news = true;
    if (outlets_.empty()) continue;
    for (int number = 0; number < group_->shards(); ++number) {
      for (std::string& record : outlet(static_cast<int>(server), number).recover())
        records.push_back(std::move(record));
    }
  }
  if (!news) return link();
  if (lost_since_ < 0) lost_since_ = 1e-9 * static_cast<double>(view_.noticed);
  pass(Point::Succeeding);
  link();
  // What a dead server has not acknowledged goes to whoever has taken its place; who has it knows it by its number.
  for (std::string& bytes : records) {
    auto* record = reinterpret_cast<Record*>(bytes.data());
    const int next = linked(record->shard);
    record->term = view_.term;
    if (next >= 0 && record->log > 0) outlet(next, record->shard).send_again(std::move(bytes));
  }
}

/// To whom changes go from now on. A server that is new in a shard's line gets a copy first, unless there will be no
/// more changes: servers that close one after the other must not copy everything around once more.
void Service::link() {
  const bool closed = group_->clients_closed();
  for (int number = 0; number < group_->shards(); ++number) {
    const auto i = static_cast<std::size_t>(number);
    const std::vector<int>& holders = view_.line(number);
    const auto mine = std::find(holders.begin(), holders.end(), me_);
    in_line_[i] = mine != holders.end();
    if (!shards_[i] || !group_->ready(number, me_)) continue;
    const int next = mine == holders.end() || mine + 1 == holders.end() ? -1 : mine[1];
    if (handovers_[i] && handovers_[i]->to() != next) handovers_[i].reset();
    if (next == links_[i]) continue;
    links_[i] = next >= 0 && group_->ready(number, next) ? next : -1;
    if (next >= 0 && links_[i] < 0 && !handovers_[i] && !closed)
      handovers_[i] = std::make_unique<Handover>(*shards_[i], number, next, view_.term);
  }
}

bool Service::hand_over() {
  bool moved = false;
  for (std::size_t i = 0; i < handovers_.size(); ++i) {
    if (!handovers_[i]) continue;
    const int to = handovers_[i]->to();
    const bool done = handovers_[i]->advance(outlet(to, static_cast<int>(i)));
    if (handovers_[i]->moved()) {
      rung_[static_cast<std::size_t>(group_->clients() + to)] = moved = true;
      pass(Point::HandingOver);
    }
    if (!done) continue;
    links_[i] = to;
    acknowledged_[i] = shards_[i]->log();
    handovers_[i].reset();
  }
  for (std::size_t i = 0; i < put_by_.size(); ++i) {
    if (handovers_[i]) continue;
    for (; !put_by_[i].empty(); put_by_[i].pop_front(), moved = true)
      replicate(*reinterpret_cast<Record*>(put_by_[i].front().data()));
  }
  return moved;
}

void Service::publish(int number, const Record& record) {
  const int next = linked(number);
  outlet(next, number).publish(record);
  rung_[static_cast<std::size_t>(group_->clients() + next)] = true;
  group_->counters(me_).forwarded.fetch_add(1, std::memory_order_relaxed);
}

/// Takes what a predecessor passes on, always and at once, so that servers that pass on to each other cannot block each
/// other: what comes for a shard that stands still is put by.
bool Service::follow(Reader& predecessor, std::size_t server) {
  bool moved = false;
  while (Record* record = predecessor.peek()) {
    const int number = record->shard;
    if (number >= group_->shards()) throw std::runtime_error("a record of no shard");
    if (record->term > view_.term) break;  // the next turn knows that view
    if (record->log == 0) {
      if (!dead_[server]) adopt(*record);
    } else if (group_->ready(number, me_)) {
      auto& put_by = put_by_[static_cast<std::size_t>(number)];
      const std::uint64_t here = shard(number).log() + put_by.size();
      if (record->log > here + 1)
        throw std::runtime_error("a replica misses changes of shard " + std::to_string(number));
      if (record->log == here + 1) {
        if (stands_still(number) || !put_by.empty())
          put_by.emplace_back(reinterpret_cast<const char*>(record), record->bytes);
        else replicate(*record);
      }
    }
    predecessor.take(number, record->log);
    moved = true;
  }
  return moved;
}

void Service::replicate(Record& record) {
  const int number = record.shard, next = linked(number);
  if (!shard(number).follows(record)) throw std::runtime_error("a replica is told of a change that cannot be one");
  pass(Point::Received);
  if (next >= 0) {
    record.term = view_.term;
    outlet(next, number).send(record);
    rung_[static_cast<std::size_t>(group_->clients() + next)] = true;
  }
  shard(number).apply(record);
  pass(Point::Replicated);
}

/// Takes in a part of a copy. One that a dead server has begun is begun anew by another.
void Service::adopt(const Record& record) {
  const int number = record.shard;
  const auto i = static_cast<std::size_t>(number);
  pass(Point::Adopting);
  if (record.kind == Kind::State) {
    if (record.piece == 0) {
      group_->ready(number, me_) = false;
      handovers_[i].reset();
      put_by_[i].clear();
      states_[i].clear();
    }
    if (record.count < 0 || record.count > payload_room(record)) throw std::runtime_error("a copy's part is damaged");
    states_[i].insert(states_[i].end(), record.payload(), record.payload() + record.count);
    if (!record.last()) return;
    shards_[i] = std::make_unique<Shard>(group_->clients());
    for (const auto& [table, make] : definitions_) {
      if (std::unique_ptr<Table> made = make(number)) shards_[i]->add(table, std::move(made));
    }
    BytesIn in(states_[i]);
    shards_[i]->restore(in);
    states_[i] = {};
  } else if (record.kind == Kind::Load) {
    Table* const table = shards_[i] ? shard(number).table(record.table) : nullptr;
    if (table == nullptr || !table->storage().accepts(record)) throw std::runtime_error("a copy's part is damaged");
    table->storage().load(record);
  } else if (record.kind == Kind::Ready && shards_[i]) {
    links_[i] = -1;
    acknowledged_[i] = shard(number).log();
    group_->ready(number, me_) = true;
    link();
    group_->counters(me_).adopted.fetch_add(1, std::memory_order_relaxed);
  }
}

}  // namespace pyccl::server
