#include "server/courier.h"

#include <sched.h>

#include <algorithm>
#include <set>
#include <stdexcept>
#include <utility>

#include "core/error.h"
#include "engine/deadline.h"
#include "server/own_thread.h"

namespace pyccl::server {
namespace {

constexpr double kYielding = 100e-6;            // seconds without news in which it only yields
constexpr double kLeast = 20e-6, kMost = 2e-3;  // seconds of a nap; MPI rings no bell
constexpr double kLook = 0.05;                  // seconds between two questions to the kernel who has died
// Seconds in which a rank to which no message goes must be found to have died: else this rank counts as dead, lest the
// two of them think so of each other and others of none.
constexpr double kGrace = 2.0;

}  // namespace

Courier::Courier(std::shared_ptr<Group> group, std::shared_ptr<Remote> remote)
    : group_(std::move(group)), remote_(std::move(remote)) {
  const auto shards = static_cast<std::size_t>(group_->shards());
  for (int rank = 0; rank < group_->size(); ++rank) {
    if (group_->here(rank)) continue;
    Peer& made = peers_.emplace_back();
    made.rank = rank;
    for (int server = 0; server < group_->servers(); ++server) {
      if (group_->rank_of(server) == rank) made.server = server;
    }
    made.ready_told.assign(shards, 0);
    made.lost_told.assign(shards, 0);
    made.silent_told.assign(static_cast<std::size_t>(group_->size()), 0);
    made.parcel.resize(kParcelBytes);
  }
  const int me = group_->own_server();
  for (std::size_t shard = 0; shard < shards && me >= 0; ++shard) {  // as all know from the beginning
    const std::vector<int>& line = group_->first().line(static_cast<int>(shard));
    const bool holds = std::find(line.begin(), line.end(), me) != line.end();
    for (Peer& p : peers_) p.ready_told[shard] = holds ? 1 : 0;
  }
}

void Courier::start() {
  thread_ = own_thread([this] { run(); });
}

void Courier::run() {
  shm::Bell& bell = group_->own_line().courier;
  for (double moved = monotonic_seconds(); !stopping_ && !failed_;) {
    if (help()) {
      moved = monotonic_seconds();
      continue;
    }
    const double quiet = monotonic_seconds() - moved;
    if (quiet < kYielding) sched_yield();
    else shm::sleep(bell, std::clamp(quiet / 20, kLeast, kMost), [this] { return stopping_ || help(); });
  }
}

bool Courier::part(double patience) {
  {
    const std::lock_guard lock(mutex_);
    parting_ = true;
  }
  const auto all = [this](auto&& parted) {
    const std::lock_guard lock(mutex_);
    return std::all_of(peers_.begin(), peers_.end(), parted);
  };
  const auto clean = [](const Peer& p) { return p.bye_sent && p.bye_heard && p.sending.empty(); };
  const auto over = [&](const Peer& p) { return clean(p) || p.gone || !group_->lives(p.rank); };
  for (const double end = monotonic_seconds() + patience; !failed_ && !all(over) && monotonic_seconds() < end;) {
    help();
    sched_yield();
  }
  return all(clean);
}

void Courier::stop() {
  stopping_ = true;
  shm::ring(group_->own_line().courier);
  if (thread_.joinable()) thread_.join();
  const std::lock_guard lock(mutex_);
  for (Peer& p : peers_) drop(p);
}

void Courier::check() const {
  if (failed_) throw CommError("between nodes: " + failure());
}

std::string Courier::failure() const {
  const std::lock_guard lock(failure_mutex_);
  return failure_;
}

void Courier::fail(const std::string& why) {
  const std::lock_guard lock(failure_mutex_);
  failure_ = why;
  failed_ = true;
  group_->end(shm::Fate::Lost);
  group_->wake_all();
}

bool Courier::help() {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock || failed_ || stopping_) return false;
  try {
    return turn();
  } catch (const std::exception& error) {
    fail(error.what());
    return false;
  }
}

bool Courier::turn() {
  if (const double now = monotonic_seconds(); now > looked_ + kLook) {  // maybe nobody else of this node does
    looked_ = now;
    group_->look();
  }
  if (group_->term() != term_) find_ways();
  bool moved = false;
  for (Peer& p : peers_) {
    if (p.gone) continue;
    if (!group_->lives(p.rank)) {
      drop(p);
      continue;
    }
    try {
      if (p.failed_at < 0) moved |= turn(p);
      else if (monotonic_seconds() > p.failed_at + kGrace) throw std::runtime_error(p.error);
    } catch (const TransportError& error) {  // maybe it has died, which its link says
      p.error = error.what();
      p.failed_at = monotonic_seconds();
    }
  }
  return moved;
}

bool Courier::turn(Peer& peer) {
  bool moved = send(peer);
  moved |= receive(peer);
  return settle(peer) || moved;
}

void Courier::bury(const View& view) {
  const std::lock_guard lock(mutex_);
  for (Peer& p : peers_) {
    if (!view.lives(p.rank)) drop(p);
  }
}

/// Forgets what is under way. Of a message to the dead the library may still read the bytes, so they are never
/// unmapped.
void Courier::drop(Peer& peer) {
  static auto& kept = *new std::set<std::shared_ptr<Courier>>;
  static std::mutex keeping;
  if (std::exchange(peer.gone, true)) return;
  if (const auto self = weak_from_this().lock(); self && !peer.sending.empty()) {
    const std::lock_guard lock(keeping);
    kept.insert(self);
  }
  for (const Remote::Request request : peer.sending) remote_->cancel(request);
  // Later ones first: were an early one withdrawn before, its message could come into the next one's memory.
  for (std::size_t i = peer.landing.size(); i-- > 0;) remote_->cancel(peer.landing[i]);
  if (peer.arriving >= 0) remote_->cancel(peer.arriving);
  peer.sending.clear();
  peer.landing.clear();
  peer.arriving = -1;
}

Courier::Peer* Courier::peer(int rank) {
  const auto found = std::find_if(peers_.begin(), peers_.end(), [&](const Peer& p) { return p.rank == rank; });
  return found == peers_.end() ? nullptr : &*found;
}

std::uint32_t Courier::place_of_request(int server, int shard, int client) const {
  return static_cast<std::uint32_t>((server * group_->shards() + shard) * group_->clients() + client);
}

std::uint32_t Courier::place_of_chain(int server, int from, int shard) const {
  const int before = group_->servers() * group_->shards() * group_->clients();
  return static_cast<std::uint32_t>(before + (server * group_->servers() + from) * group_->shards() + shard);
}

void Courier::add_way(int rank, Ring& ring, std::uint32_t place) {
  Peer* to = peer(rank);
  if (to != nullptr) to->ways.try_emplace(place, Way{&ring, place});
}

/// Which rings this rank may write: those of servers in a shard's line, also of such as were there by an older view.
/// Others hold nothing, maybe not even memory.
void Courier::find_ways() {
  const View view = group_->view();
  const int client = group_->own_client(), me = group_->own_server();
  for (int shard = 0; shard < group_->shards(); ++shard) {
    const std::vector<int>& line = view.line(shard);
    for (const int server : line) {
      if (client < 0) break;
      add_way(group_->rank_of(server), group_->requests(server, shard, client),
              place_of_request(server, shard, client));
    }
    const auto mine = std::find(line.begin(), line.end(), me);
    if (mine == line.end() || mine + 1 == line.end()) continue;
    add_way(group_->rank_of(mine[1]), group_->chain(mine[1], me, shard), place_of_chain(mine[1], me, shard));
  }
  term_ = view.term;
}

/// The ring of that number, if that rank writes it and this one reads it; null otherwise.
Ring* Courier::incoming(int rank, std::uint32_t number) const {
  const auto shards = static_cast<std::uint32_t>(group_->shards());
  const auto clients = static_cast<std::uint32_t>(group_->clients());
  const std::uint32_t requests = shards * shards * clients;
  const auto me = static_cast<std::uint32_t>(group_->own_server());
  if (group_->own_server() < 0) return nullptr;
  if (number < requests) {
    const std::uint32_t client = number % clients, shard = number / clients % shards,
                        server = number / clients / shards;
    if (server != me || group_->client_rank(static_cast<int>(client)) != rank) return nullptr;
    return &group_->requests(static_cast<int>(server), static_cast<int>(shard), static_cast<int>(client));
  }
  const std::uint32_t rest = number - requests, shard = rest % shards, from = rest / shards % shards;
  if (group_->replicas() == 0 || rest / shards / shards != me || group_->rank_of(static_cast<int>(from)) != rank)
    return nullptr;
  return &group_->chain(static_cast<int>(me), static_cast<int>(from), static_cast<int>(shard));
}

Courier::Lane& Courier::lane(Peer& peer, std::uint32_t place) {
  const auto found = peer.lanes.find(place);
  if (found != peer.lanes.end()) return found->second;
  Ring* ring = incoming(peer.rank, place);
  if (ring == nullptr) throw std::runtime_error("rank " + std::to_string(peer.rank) + " sends for a ring not its own");
  return peer.lanes.emplace(place, Lane{ring, place}).first->second;
}

}  // namespace pyccl::server
