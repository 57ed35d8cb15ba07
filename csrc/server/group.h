// The ranks that use one parameter server, the memory that they share, and who of them lives.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "server/ring.h"
#include "shm/bell.h"
#include "shm/memory.h"
#include "shm/outage.h"
#include "shm/wait.h"

namespace pyccl::server {

inline constexpr int kMaxTables = 4096;
inline constexpr std::uint64_t kMagic = 0x70796363'6c707331ULL;  // "pycclps1"
/// What a server may fill with dense tables: address space, not memory.
inline constexpr std::int64_t kHeapBytes = std::int64_t{1} << 38;

/// What a server counts; written by it alone.
struct alignas(64) Counters {
  std::atomic<std::int64_t> requests, bytes, applied, dropped, staleness, duplicates, forwarded;
  std::atomic<std::int64_t> busy_ns, failovers, recovery_ns, adopted;
};

struct alignas(64) RankLine {
  shm::Bell server, client;  // where its server, and its client, sleep
  std::atomic<shm::Fate> fate;
  std::atomic<bool> closing;  // it asks nothing any more
};

struct Setup {
  int rank = 0, size = 1;
  std::vector<int> servers;  // ranks; shard i begins on the i-th
  std::vector<int> clients;  // ranks
  int replicas = 0;
  std::vector<std::int64_t> pids;  // by rank
  shm::WaitPolicy policy;
};

/// One memfd for requests, and one per server for its tables; all of them mapped by every rank.
class Group {
 public:
  /// A new memfd for the requests of a group.
  static shm::Descriptor create_requests(int size, int servers, int clients, int replicas);
  static shm::Descriptor create_heap() { return shm::create_memory(kHeapBytes); }
  /// `requests` is of one rank, heaps[i] of the i-th server.
  Group(Setup setup, int requests, const std::vector<int>& heaps);
  /// Of a rank that is a thread of the same process, in the same mapping.
  Group(Setup setup, const Group& other);

  int rank() const { return setup_.rank; }
  int size() const { return setup_.size; }
  int servers() const { return static_cast<int>(setup_.servers.size()); }
  int shards() const { return servers(); }
  int rank_of(int server) const { return setup_.servers[static_cast<std::size_t>(server)]; }
  int clients() const { return static_cast<int>(setup_.clients.size()); }
  int client_rank(int client) const { return setup_.clients[static_cast<std::size_t>(client)]; }
  int replicas() const { return setup_.replicas; }
  /// This rank's place among the servers, and the clients; -1 if it is none.
  int own_server() const { return place_of(setup_.servers); }
  int own_client() const { return place_of(setup_.clients); }
  const shm::WaitPolicy& policy() const { return setup_.policy; }

  /// What a client asks of a server about one shard. A ring holds requests in order: with two shards in it, two clients
  /// could each wait for the other behind a request that needs both.
  Ring& requests(int server, int shard, int client) const {
    return rings_[(static_cast<std::int64_t>(server) * shards() + shard) * clients() + client];
  }
  /// What a server passes on to a replica of a shard. What is acknowledged in order must not wait for another shard:
  /// lines of replicas that run in a circle would wait for themselves.
  Ring& chain(int server, int from, int shard) const {
    return chains_[(static_cast<std::int64_t>(server) * servers() + from) * shards() + shard];
  }
  /// Bytes that clients have sent to a server and that are not done.
  std::int64_t queued(int server) const;
  /// Whether a server has a whole copy of a shard; set by itself.
  std::atomic<bool>& ready(int shard, int server) const { return ready_[shard * servers() + server]; }
  RankLine& line(int rank) const { return lines_[rank]; }
  /// Wakes whoever does the work of the server on `rank`: its thread, or its client that waits.
  void knock(int rank) const {
    shm::ring(lines_[rank].server);
    shm::ring(lines_[rank].client);
  }
  Counters& counters(int server) const { return counters_[server]; }
  char* heap(int server) const { return heaps_[static_cast<std::size_t>(server)].base(); }
  /// Where a table's shard lies in a server's heap, plus 1; 0 if it does not.
  std::atomic<std::int64_t>& place(int table, int shard, int server) const {
    return places_[(static_cast<std::int64_t>(table) * servers() + shard) * servers() + server];
  }

  bool lives(int rank) const { return lines_[rank].fate.load(std::memory_order_acquire) == shm::Fate::Alive; }
  /// The first server from the shard's own on that lives; -1 if it has no copy.
  int owner(int shard) const;
  /// Asks the kernel who has died; a system call. Everybody hears of news.
  void look();
  void wake_all();
  /// This rank's client asks nothing any more; then its server has no more to do.
  void close_client() const;
  bool clients_closed() const;
  void leave() const;
  /// "rank 3 (server 1)"
  std::string name(int server) const;

 private:
  int place_of(const std::vector<int>& ranks) const;

  Setup setup_;
  shm::Mapping requests_;
  std::vector<shm::Mapping> heaps_;
  std::vector<shm::Descriptor> pidfds_;
  RankLine* lines_;
  Counters* counters_;
  std::atomic<std::int64_t>* places_;
  std::atomic<bool>* ready_;
  Ring* rings_;
  Ring* chains_;
};

}  // namespace pyccl::server
