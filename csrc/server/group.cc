#include "server/group.h"

#include <sys/mman.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace pyccl::server {
namespace {

struct alignas(4096) Head {
  std::uint64_t magic;
  std::int32_t size, servers, clients, replicas;
};

constexpr std::int64_t kNewsBytes = 64;

/// The parts of the memory for requests, in their order.
struct Plan {
  std::int64_t lines, counters, ready, view, places, rings, chains, end;
  Plan(std::int64_t size, std::int64_t servers, std::int64_t clients, std::int64_t replicas) {
    const auto page = [](std::int64_t bytes) { return (bytes + 4095) / 4096 * 4096; };
    lines = sizeof(Head);
    counters = page(lines + size * static_cast<std::int64_t>(sizeof(RankLine)));
    ready = page(counters + servers * static_cast<std::int64_t>(sizeof(Counters)));
    view = page(ready + servers * servers + servers);
    places = page(view + kNewsBytes +
                  ViewBoard::bytes(static_cast<int>(size), static_cast<int>(servers), static_cast<int>(replicas)));
    rings = page(places + kMaxTables * servers * servers * 8);
    chains = page(rings + servers * servers * clients * static_cast<std::int64_t>(sizeof(Ring)));
    end = chains + (replicas > 0 ? servers * servers * servers * static_cast<std::int64_t>(sizeof(Ring)) : 0);
  }
};

Plan plan(const Setup& setup) {
  return {setup.size, std::ssize(setup.servers), std::ssize(setup.clients), setup.replicas};
}

}  // namespace

shm::Descriptor Group::create_requests(int size, int servers, int clients, int replicas) {
  const Plan parts(size, servers, clients, replicas);
  shm::Descriptor memory = shm::create_memory(parts.end);
  const shm::Mapping mapping(memory.get(), parts.end);
  madvise(mapping.base(), static_cast<std::size_t>(parts.end), MADV_NOHUGEPAGE);
  shm::populate(mapping.base(), parts.places);
  *reinterpret_cast<Head*>(mapping.base()) = {kMagic, size, servers, clients, replicas};
  return memory;
}

Group::Group(Setup setup, int requests, const std::vector<int>& heaps) : setup_(std::move(setup)) {
  requests_ = shm::Mapping(requests, plan(setup_).end);
  share(requests_);
  for (const int heap : heaps) heaps_.push_back(heap < 0 ? shm::Mapping() : shm::Mapping(heap, kHeapBytes));
  watch();
  const View& first = board_.first();
  for (int shard = 0; shard < shards(); ++shard) {
    for (const int server : first.line(shard)) {
      if (!here(rank_of(server))) ready(shard, server) = true;
    }
  }
}

/// Finds the parts of the memory for requests.
void Group::share(const shm::Mapping& requests) {
  const Plan parts = plan(setup_);
  char* base = requests.base();
  madvise(base, static_cast<std::size_t>(parts.end), MADV_NOHUGEPAGE);
  const Head& head = *reinterpret_cast<const Head*>(base);
  if (head.magic != kMagic || head.size != setup_.size || head.servers != servers() || head.clients != clients() ||
      head.replicas != setup_.replicas)
    throw std::runtime_error("the memory of another parameter server");
  lines_ = reinterpret_cast<RankLine*>(base + parts.lines);
  counters_ = reinterpret_cast<Counters*>(base + parts.counters);
  places_ = reinterpret_cast<std::atomic<std::int64_t>*>(base + parts.places);
  ready_ = reinterpret_cast<std::atomic<bool>*>(base + parts.ready);
  rings_ = reinterpret_cast<Ring*>(base + parts.rings);
  chains_ = reinterpret_cast<Ring*>(base + parts.chains);
  news_ = reinterpret_cast<std::atomic<std::uint32_t>*>(base + parts.view);
  board_ = {base + parts.view + kNewsBytes, first_view(), setup_.rank, setup_.replicas};
}

Group::Group(Setup setup, const Group& other)
    : setup_(std::move(setup)), requests_(other.requests_), heaps_(other.heaps_), lines_(other.lines_),
      counters_(other.counters_), places_(other.places_), ready_(other.ready_), rings_(other.rings_),
      chains_(other.chains_), news_(other.news_), board_(other.board_, setup_.rank) {}

int Group::place_of(const std::vector<int>& ranks) const {
  const auto found = std::find(ranks.begin(), ranks.end(), setup_.rank);
  return found == ranks.end() ? -1 : static_cast<int>(found - ranks.begin());
}

std::int64_t Group::queued(int server) const {
  std::uint64_t bytes = 0;
  const View now = view();
  for (int shard = 0; shard < shards(); ++shard) {
    if (now.owner(shard) != server) continue;  // its rings hold nothing, maybe not even memory
    for (int client = 0; client < clients(); ++client) {
      const Ring& ring = requests(server, shard, client);
      const std::uint64_t done = ring.tail.load(std::memory_order_acquire);
      bytes += ring.head.load(std::memory_order_acquire) - done;
    }
  }
  return static_cast<std::int64_t>(bytes);
}

void Group::wake_all() {
  for (int rank = 0; rank < setup_.size; ++rank) {
    shm::ring(lines_[rank].server);
    shm::ring(lines_[rank].client);
    shm::ring(lines_[rank].courier);
  }
}

void Group::close_client() const { lines_[setup_.rank].closing.store(true, std::memory_order_release); }

bool Group::clients_closed() const {
  return std::all_of(setup_.clients.begin(), setup_.clients.end(),
                     [&](int rank) { return !lives(rank) || lines_[rank].closing.load(std::memory_order_acquire); });
}

std::string Group::name(int server) const {
  return "rank " + std::to_string(rank_of(server)) + " (server " + std::to_string(server) + ")";
}
}  // namespace pyccl::server
