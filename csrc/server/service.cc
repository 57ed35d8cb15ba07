#include "server/service.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <cstring>
#include <stdexcept>

#include "engine/deadline.h"
#include "kernels/kernels.h"

namespace pyccl::server {
namespace {

constexpr double kLook = 0.05;  // seconds between two questions to the kernel who has died

}  // namespace

Service::Service(std::shared_ptr<Group> group) : group_(std::move(group)), me_(group_->own_server()) {
  const int servers = group_->servers();
  if (me_ < 0) throw std::invalid_argument("this rank is not among the servers");
  for (int client = 0; client < group_->clients(); ++client) clients_.emplace_back(group_->requests(me_, client));
  for (int hop = 0; hop < group_->replicas(); ++hop) {
    for (int server = 0; server < servers; ++server) {
      predecessors_.emplace_back(group_->chain(hop, me_, server));
      outlets_.emplace_back(group_->chain(hop, server, me_));
    }
  }
  shards_.resize(static_cast<std::size_t>(servers));
  for (int step = 0; step <= group_->replicas(); ++step) {
    auto& mine = shards_[static_cast<std::size_t>((me_ - step + servers) % servers)];
    if (!mine) mine = std::make_unique<Shard>(group_->clients());
  }
  acknowledged_.assign(static_cast<std::size_t>(servers), 0);
  dead_.assign(static_cast<std::size_t>(servers), false);
  rung_.assign(static_cast<std::size_t>(group_->clients() + servers), false);
}

Service::~Service() { stop(); }

void Service::add_table(int shard, int number, std::unique_ptr<Table> table) {
  const std::lock_guard lock(mutex_);
  shards_.at(static_cast<std::size_t>(shard))->add(number, std::move(table));
}

void Service::start() {
  // Signals are for the threads of the program.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void Service::stop() {
  stopping_ = true;
  shm::ring(group_->line(group_->rank()).server);
  if (thread_.joinable()) thread_.join();
}

std::string Service::failure() const {
  const std::lock_guard lock(failure_mutex_);
  return failure_;
}

void Service::run() {
  shm::Bell& bell = group_->line(group_->rank()).server;
  const auto& policy = group_->policy();
  const int looks = policy.crowded ? policy.yields : 200;
  for (int idle = 0; !stopping_;) {
    try {
      if (help()) {
        idle = 0;
      } else if (++idle < looks) {
        sched_yield();
      } else {
        shm::sleep(bell, kLook, [&] { return stopping_ || help(); });
      }
    } catch (const std::exception& error) {
      const std::lock_guard lock(failure_mutex_);
      failure_ = error.what();
      group_->line(group_->rank()).fate = shm::Fate::Lost;
      group_->wake_all();
      return;
    }
  }
}

bool Service::help() {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock) return false;
  const double begun = monotonic_seconds();
  if (begun - looked_ > kLook) {
    looked_ = begun;
    group_->look();
  }
  if (!turn()) return false;
  Counters& mine = group_->counters(me_);
  mine.busy_ns.fetch_add(static_cast<std::int64_t>((monotonic_seconds() - begun) * 1e9), std::memory_order_relaxed);
  return true;
}

bool Service::turn() {
  look();
  bool moved = false;
  for (Outlet& outlet : outlets_) moved |= outlet.flush();
  for (Reader& predecessor : predecessors_) moved |= follow(predecessor);
  for (int client = 0; client < group_->clients(); ++client) {
    moved |= serve(client);
    if (!group_->lives(group_->client_rank(client))) bury(client);
  }
  moved |= settle();
  for (std::size_t i = 0; i < rung_.size(); ++i) {
    if (!rung_[i]) continue;
    rung_[i] = false;
    const int index = static_cast<int>(i), clients = group_->clients();
    shm::ring(index < clients ? group_->line(group_->client_rank(index)).client
                              : group_->line(group_->rank_of(index - clients)).server);
  }
  return moved;
}

/// Notices who is gone since the last turn: all decisions of a turn follow from what it has seen at its beginning.
void Service::look() {
  for (int server = 0; server < group_->servers(); ++server) {
    const auto index = static_cast<std::size_t>(server);
    if (dead_[index] || group_->lives(group_->rank_of(server))) continue;
    dead_[index] = true;
    if (lost_since_ < 0) lost_since_ = monotonic_seconds();
    lose(server);
  }
  if (lost_since_ < 0 || !caught_up()) return;
  Counters& mine = group_->counters(me_);
  mine.recovery_ns = static_cast<std::int64_t>((monotonic_seconds() - lost_since_) * 1e9);
  mine.failovers.fetch_add(1);
  lost_since_ = -1;
}

/// What a server has not acknowledged goes to whoever takes its place; who has it already knows it by its number.
void Service::lose(int server) {
  for (int hop = 0; hop < group_->replicas(); ++hop) {
    Outlet& gone = outlets_[static_cast<std::size_t>(hop * group_->servers() + server)];
    for (std::string& bytes : gone.recover()) {
      const int shard = reinterpret_cast<const Record*>(bytes.data())->shard, next = successor(shard);
      if (next >= 0) outlet(shard, next).send_again(std::move(bytes));
    }
  }
}

int Service::successor(int shard) const {
  const int servers = group_->servers();
  const int mine = (me_ - shard + servers) % servers;
  for (int step = mine + 1; step <= group_->replicas(); ++step) {
    const int server = (shard + step) % servers;
    if (!dead_[static_cast<std::size_t>(server)]) return server;
  }
  return -1;
}

bool Service::owns(int shard) const {
  const int servers = group_->servers();
  const int mine = (me_ - shard + servers) % servers;
  if (mine > group_->replicas()) return false;
  for (int step = 0; step < mine; ++step) {
    if (!dead_[static_cast<std::size_t>((shard + step) % servers)]) return false;
  }
  return true;
}

/// Whether everything that dead servers have passed on has been applied.
bool Service::caught_up() {
  for (std::size_t i = 0; i < predecessors_.size(); ++i) {
    if (dead_[i % dead_.size()] && !predecessors_[i].empty()) return false;
  }
  return true;
}

Outlet& Service::outlet(int shard, int server) {
  const int servers = group_->servers(), hop = (server - shard + servers) % servers - 1;
  return outlets_[static_cast<std::size_t>(hop * servers + server)];
}

Record* Service::reserve(int shard, std::uint32_t bytes) { return outlet(shard, successor(shard)).reserve(bytes); }

void Service::publish(const Record& record) {
  const int next = successor(record.shard);
  outlet(record.shard, next).publish(record);
  rung_[static_cast<std::size_t>(group_->clients() + next)] = true;
  group_->counters(me_).forwarded.fetch_add(1, std::memory_order_relaxed);
}

std::uint64_t Service::safe(int number) const {
  const auto& here = shards_[static_cast<std::size_t>(number)];
  if (!here) return ~std::uint64_t{0};
  return successor(number) < 0 ? here->log() : acknowledged_[static_cast<std::size_t>(number)];
}

bool Service::settle() {
  bool moved = false;
  for (Outlet& outlet : outlets_) {
    while (const Record* record = outlet.reap()) {
      acknowledged_[record->shard] = std::max(acknowledged_[record->shard], record->log);
      moved = true;
    }
  }
  const auto everywhere = [this](int number) { return safe(number); };
  for (int client = 0; client < group_->clients(); ++client) {
    if (!clients_[static_cast<std::size_t>(client)].settle(everywhere)) continue;
    rung_[static_cast<std::size_t>(client)] = moved = true;
  }
  const auto servers = dead_.size();
  for (std::size_t i = 0; i < predecessors_.size(); ++i) {
    if (!predecessors_[i].settle(everywhere)) continue;
    rung_[static_cast<std::size_t>(group_->clients()) + i % servers] = moved = true;
  }
  return moved;
}

bool Service::finished() {
  if (!group_->clients_closed()) return false;
  const std::lock_guard lock(mutex_);
  for (int number = 0; number < group_->shards(); ++number) {
    const auto& here = shards_[static_cast<std::size_t>(number)];
    if (here && !here->active().empty()) return false;
  }
  for (Reader& reader : predecessors_) {
    if (!reader.empty()) return false;
  }
  return true;
}

}  // namespace pyccl::server
