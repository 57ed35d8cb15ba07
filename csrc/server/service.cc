#include "server/service.h"

#include <sched.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "engine/deadline.h"
#include "server/crash.h"
#include "server/own_thread.h"

namespace pyccl::server {
namespace {

constexpr double kLook = 0.05;  // seconds between two questions to the kernel who has died

}  // namespace

Service::Service(std::shared_ptr<Group> group, std::shared_ptr<Courier> courier)
    : group_(std::move(group)), courier_(std::move(courier)), me_(group_->own_server()) {
  if (me_ < 0) throw std::invalid_argument("this rank is not among the servers");
  const auto servers = static_cast<std::size_t>(group_->servers());
  for (int number = 0; number < group_->shards(); ++number) {
    for (int client = 0; client < group_->clients(); ++client)
      clients_.emplace_back(group_->requests(me_, number, client));
  }
  for (int server = 0; group_->replicas() > 0 && server < group_->servers(); ++server) {
    for (int number = 0; number < group_->shards(); ++number) {
      predecessors_.emplace_back(group_->chain(me_, server, number));
      outlets_.emplace_back(group_->chain(server, me_, number));
    }
  }
  shards_.resize(servers);
  handovers_.resize(servers);
  put_by_.resize(servers);
  states_.resize(servers);
  links_.assign(servers, -1);
  acknowledged_.assign(servers, 0);
  dead_.assign(servers, false);
  view_ = group_->first();
  rung_.assign(static_cast<std::size_t>(group_->clients()) + servers, false);
  for (int number = 0; number < group_->shards(); ++number) {
    const std::vector<int>& holders = view_.line(number);
    in_line_.push_back(std::find(holders.begin(), holders.end(), me_) != holders.end());
    const auto mine = std::find(holders.begin(), holders.end(), me_);
    if (mine == holders.end()) continue;
    const auto i = static_cast<std::size_t>(number);
    shards_[i] = std::make_unique<Shard>(group_->clients());
    group_->ready(number, me_) = true;
    if (mine + 1 != holders.end()) links_[i] = mine[1];
  }
}

Service::~Service() { stop(); }

void Service::define(int number, Make make) {
  const std::lock_guard lock(mutex_);
  for (int shard = 0; shard < group_->shards(); ++shard) {
    const auto& here = shards_[static_cast<std::size_t>(shard)];
    if (!here) continue;
    if (std::unique_ptr<Table> table = make(shard)) here->add(number, std::move(table));
  }
  definitions_.emplace_back(number, std::move(make));
}

void Service::start() {
  thread_ = own_thread([this] { run(); });
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
  const auto& policy = group_->policy();
  double moved = monotonic_seconds();
  for (int idle = 0; !stopping_ && !failed_;) {
    if (!attended_ && help()) {
      idle = 0;
      moved = monotonic_seconds();
    } else if (!attended_ && (policy.crowded ? ++idle < policy.yields : monotonic_seconds() < moved + policy.spin)) {
      sched_yield();
    } else {
      rest();
    }
  }
}

/// Sleeps until there is work, and no client to do it.
void Service::rest() {
  shm::Bell& bell = group_->line(group_->rank()).server;
  const std::uint32_t seen = bell.rings.load(std::memory_order_seq_cst);
  resting_ = true;
  // Whether it is to be woken follows from whether the client is here, which may change meanwhile.
  for (bool attended = !attended_; attended != attended_;) {
    attended = attended_;
    bell.asleep.store(attended ? 0 : 1, std::memory_order_seq_cst);
  }
  if (!stopping_ && (attended_ || !help())) shm::futex_wait(bell.rings, seen, kLook);
  resting_ = false;
  bell.asleep.store(0, std::memory_order_seq_cst);
}

void Service::attend() {
  attended_ = true;
  group_->line(group_->rank()).server.asleep.store(0, std::memory_order_seq_cst);
}

void Service::leave_alone() {
  attended_ = false;
  if (!resting_) return;
  group_->line(group_->rank()).server.asleep.store(1, std::memory_order_seq_cst);
  help();  // with what came while nobody would have been woken
}

/// A server that cannot go on counts as dead: others take its shards.
void Service::fail(const std::string& why) {
  const std::lock_guard lock(failure_mutex_);
  failure_ = why;
  failed_ = true;
  group_->end(shm::Fate::Lost);
  group_->wake_all();
}

bool Service::help() {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock || failed_) return false;
  const double begun = monotonic_seconds();
  try {
    if (begun - looked_ > kLook) {
      looked_ = begun;
      stray_ = true;
      group_->look();
    }
    if (!turn()) return false;
  } catch (const std::exception& error) {
    fail(error.what());
    return false;
  }
  Counters& mine = group_->counters(me_);
  mine.busy_ns.fetch_add(static_cast<std::int64_t>((monotonic_seconds() - begun) * 1e9), std::memory_order_relaxed);
  return true;
}

bool Service::turn() {
  look();
  bool moved = false;
  for (Outlet& outlet : outlets_) moved |= outlet.flush();
  for (std::size_t i = 0; i < predecessors_.size(); ++i) {
    if (in_line_[i % dead_.size()]) moved |= follow(predecessors_[i], i / dead_.size());
  }
  moved |= hand_over();
  for (int client = 0; client < group_->clients(); ++client) {
    moved |= serve(client);
    if (!view_.lives(group_->client_rank(client))) bury(client);
  }
  if (stray_) moved |= send_back();
  moved |= settle();
  for (std::size_t i = 0; i < rung_.size(); ++i) {
    if (!rung_[i]) continue;
    rung_[i] = false;
    const int index = static_cast<int>(i), clients = group_->clients();
    if (index < clients) group_->wake_client(group_->client_rank(index));
    else group_->knock(group_->rank_of(index - clients));
  }
  return moved;
}

std::uint64_t Service::safe(int number) const {
  const auto& here = shards_[static_cast<std::size_t>(number)];
  if (!here) return ~std::uint64_t{0};
  return linked(number) < 0 ? here->log() : acknowledged_[static_cast<std::size_t>(number)];
}

bool Service::settle() {
  bool moved = false;
  for (Outlet& outlet : outlets_) {
    while (const Record* record = outlet.reap()) {
      std::uint64_t& last = acknowledged_[record->shard];
      last = std::max(last, record->log);
      moved = true;
    }
  }
  const auto everywhere = [this](int number) { return safe(number); };
  for (std::size_t i = 0; i < clients_.size(); ++i) {
    if (!clients_[i].settle(everywhere)) continue;
    pass(Point::Answered);
    rung_[i % static_cast<std::size_t>(group_->clients())] = moved = true;
  }
  for (std::size_t i = 0; i < predecessors_.size(); ++i) {
    if (!predecessors_[i].settle(everywhere)) continue;
    pass(Point::Confirmed);
    rung_[static_cast<std::size_t>(group_->clients()) + i / dead_.size()] = moved = true;
  }
  return moved;
}

/// A shard that is lost is nobody's to end: its workers do not take their leave, and half a copy may lie in the rings.
bool Service::finished() {
  if (!group_->clients_closed()) return false;
  const std::lock_guard lock(mutex_);
  for (std::size_t number = 0; number < shards_.size(); ++number) {
    if (in_line_[number] && shards_[number] && !shards_[number]->active().empty()) return false;
  }
  for (std::size_t i = 0; i < predecessors_.size(); ++i) {
    if (in_line_[i % shards_.size()] && !predecessors_[i].empty()) return false;
  }
  return true;
}

}  // namespace pyccl::server
