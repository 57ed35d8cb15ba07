#include "server/group.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace pyccl::server {
namespace {

struct alignas(4096) Head {
  std::uint64_t magic;
  std::int32_t size, servers, clients, replicas;
};

/// The parts of the memory for requests, in their order.
struct Plan {
  std::int64_t lines, counters, ready, places, rings, chains, end;
  Plan(std::int64_t size, std::int64_t servers, std::int64_t clients, std::int64_t replicas) {
    const auto page = [](std::int64_t bytes) { return (bytes + 4095) / 4096 * 4096; };
    lines = sizeof(Head);
    counters = page(lines + size * static_cast<std::int64_t>(sizeof(RankLine)));
    ready = page(counters + servers * static_cast<std::int64_t>(sizeof(Counters)));
    places = page(ready + servers * servers);
    rings = page(places + kMaxTables * servers * servers * 8);
    chains = page(rings + servers * servers * clients * static_cast<std::int64_t>(sizeof(Ring)));
    end = chains + (replicas > 0 ? servers * servers * servers * static_cast<std::int64_t>(sizeof(Ring)) : 0);
  }
};

}  // namespace

shm::Descriptor Group::create_requests(int size, int servers, int clients, int replicas) {
  const Plan plan(size, servers, clients, replicas);
  shm::Descriptor memory = shm::create_memory(plan.end);
  const shm::Mapping mapping(memory.get(), plan.end);
  madvise(mapping.base(), static_cast<std::size_t>(plan.end), MADV_NOHUGEPAGE);
  shm::populate(mapping.base(), plan.places);
  *reinterpret_cast<Head*>(mapping.base()) = {kMagic, size, servers, clients, replicas};
  return memory;
}

Group::Group(Setup setup, int requests, const std::vector<int>& heaps) : setup_(std::move(setup)) {
  const Plan plan(setup_.size, servers(), clients(), setup_.replicas);
  requests_ = shm::Mapping(requests, plan.end);
  madvise(requests_.base(), static_cast<std::size_t>(plan.end), MADV_NOHUGEPAGE);
  const Head& head = *reinterpret_cast<const Head*>(requests_.base());
  if (head.magic != kMagic || head.size != setup_.size || head.servers != servers() || head.clients != clients() ||
      head.replicas != setup_.replicas)
    throw std::runtime_error("the memory of another parameter server");
  lines_ = reinterpret_cast<RankLine*>(requests_.base() + plan.lines);
  counters_ = reinterpret_cast<Counters*>(requests_.base() + plan.counters);
  places_ = reinterpret_cast<std::atomic<std::int64_t>*>(requests_.base() + plan.places);
  ready_ = reinterpret_cast<std::atomic<bool>*>(requests_.base() + plan.ready);
  rings_ = reinterpret_cast<Ring*>(requests_.base() + plan.rings);
  chains_ = reinterpret_cast<Ring*>(requests_.base() + plan.chains);
  for (const int heap : heaps) heaps_.emplace_back(heap, kHeapBytes);
  for (const std::int64_t pid : setup_.pids) {
    const bool other = pid != static_cast<std::int64_t>(getpid());
    pidfds_.emplace_back(other ? static_cast<int>(syscall(SYS_pidfd_open, static_cast<pid_t>(pid), 0)) : -1);
  }
}

Group::Group(Setup setup, const Group& other)
    : setup_(std::move(setup)), requests_(other.requests_), heaps_(other.heaps_), lines_(other.lines_),
      counters_(other.counters_), places_(other.places_), ready_(other.ready_), rings_(other.rings_),
      chains_(other.chains_) {}

int Group::place_of(const std::vector<int>& ranks) const {
  const auto found = std::find(ranks.begin(), ranks.end(), setup_.rank);
  return found == ranks.end() ? -1 : static_cast<int>(found - ranks.begin());
}

std::int64_t Group::queued(int server) const {
  std::uint64_t bytes = 0;
  for (int shard = 0; shard < shards(); ++shard) {
    if (owner(shard) != server) continue;  // its rings hold nothing, maybe not even memory
    for (int client = 0; client < clients(); ++client) {
      const Ring& ring = requests(server, shard, client);
      const std::uint64_t done = ring.tail.load(std::memory_order_acquire);
      bytes += ring.head.load(std::memory_order_acquire) - done;
    }
  }
  return static_cast<std::int64_t>(bytes);
}

int Group::owner(int shard) const {
  for (int step = 0; step < servers(); ++step) {
    const int server = (shard + step) % servers();
    if (lives(rank_of(server))) return ready(shard, server).load(std::memory_order_acquire) ? server : -1;
  }
  return -1;
}

void Group::look() {
  std::vector<pollfd> all;
  for (const shm::Descriptor& fd : pidfds_) all.push_back({fd.get(), POLLIN, 0});  // poll skips negative ones
  if (::poll(all.data(), all.size(), 0) <= 0) return;
  bool news = false;
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    shm::Fate alive = shm::Fate::Alive;
    if (all[rank].revents != 0) news |= lines_[rank].fate.compare_exchange_strong(alive, shm::Fate::Lost);
  }
  if (news) wake_all();
}

void Group::wake_all() {
  for (int rank = 0; rank < setup_.size; ++rank) {
    shm::ring(lines_[rank].server);
    shm::ring(lines_[rank].client);
  }
}

void Group::close_client() const { lines_[setup_.rank].closing.store(true, std::memory_order_release); }

bool Group::clients_closed() const {
  return std::all_of(setup_.clients.begin(), setup_.clients.end(),
                     [&](int rank) { return !lives(rank) || lines_[rank].closing.load(std::memory_order_acquire); });
}

void Group::leave() const { lines_[setup_.rank].fate.store(shm::Fate::Left, std::memory_order_seq_cst); }

std::string Group::name(int server) const {
  return "rank " + std::to_string(rank_of(server)) + " (server " + std::to_string(server) + ")";
}
}  // namespace pyccl::server
