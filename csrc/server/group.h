// The ranks that use one parameter server, the memory that those of a node share, and who of them lives.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "server/ring.h"
#include "server/view.h"
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
  std::atomic<std::int64_t> busy_ns, failovers, recovery_ns, adopted, moved, term;

  std::array<std::atomic<std::int64_t>*, 13> all() {
    return {&requests, &bytes,     &applied,     &dropped, &staleness, &duplicates, &forwarded,
            &busy_ns,  &failovers, &recovery_ns, &adopted, &moved,     &term};
  }
};

struct alignas(64) RankLine {
  shm::Bell server, client, courier;  // where these threads of it sleep
  std::atomic<shm::Fate> fate;
  std::atomic<bool> silent;   // it counts as lost since its host does not answer: it may live, and think the same of us
  std::atomic<bool> closing;  // it asks nothing any more
};

struct Setup {
  int rank = 0, size = 1;
  std::vector<int> servers;  // ranks; shard i begins on the i-th
  std::vector<int> clients;  // ranks
  int replicas = 0;
  std::vector<std::int64_t> pids;  // by rank; on other nodes they mean nothing
  shm::WaitPolicy policy;
  std::vector<int> nodes;  // by rank; empty: all are on one
  std::vector<int> links;  // by rank: a stream socket to one of another node, which ends with it; taken over
};

/// On each node one memfd for requests, and one per server there for its tables; all of them mapped by every rank
/// there. What ranks of different nodes ask of each other lies in the memories of both, and couriers carry it.
class Group {
 public:
  /// A new memfd for the requests of a group.
  static shm::Descriptor create_requests(int size, int servers, int clients, int replicas);
  static shm::Descriptor create_heap() { return shm::create_memory(kHeapBytes); }
  /// `requests` is of one rank of this node, heaps[i] of the i-th server; -1 on another node.
  Group(Setup setup, int requests, const std::vector<int>& heaps);
  /// Of a rank that is a thread of the same process, in the same mapping.
  Group(Setup setup, const Group& other);

  int rank() const { return setup_.rank; }
  int size() const { return setup_.size; }
  int servers() const { return static_cast<int>(setup_.servers.size()); }
  int shards() const { return servers(); }
  int rank_of(int server) const { return setup_.servers[static_cast<std::size_t>(server)]; }
  int clients() const { return static_cast<int>(setup_.clients.size()); }
  bool here(int rank) const {
    return setup_.nodes.empty() || setup_.nodes[static_cast<std::size_t>(rank)] == setup_.nodes[own_rank()];
  }
  bool several_nodes() const { return !setup_.nodes.empty(); }
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
  /// Bytes that clients of this node have sent to a server and that are not done.
  std::int64_t queued(int server) const;
  /// Whether a server has a whole copy of a shard; set by itself, and heard of later on other nodes.
  std::atomic<bool>& ready(int shard, int server) const { return ready_[shard * servers() + server]; }
  /// Whether a shard is gone for good: found on the node of the server that would own it, and heard of on others.
  std::atomic<bool>& lost(int shard) const { return ready_[servers() * servers() + shard]; }
  RankLine& line(int rank) const { return lines_[rank]; }
  RankLine& own_line() const { return lines_[own_rank()]; }
  /// Wakes whoever does the work of the server on `rank`: its thread, its client that waits, or the courier to it.
  void knock(int rank) const {
    if (!here(rank)) return shm::ring(own_line().courier);
    shm::ring(lines_[rank].server);
    shm::ring(lines_[rank].client);
  }
  void wake_client(int rank) const { shm::ring(here(rank) ? lines_[rank].client : own_line().courier); }
  Counters& counters(int server) const { return counters_[server]; }
  char* heap(int server) const { return heaps_[static_cast<std::size_t>(server)].base(); }
  /// Where a table's shard lies in a server's heap, plus 1; 0 if it does not.
  std::atomic<std::int64_t>& place(int table, int shard, int server) const {
    return places_[(static_cast<std::int64_t>(table) * servers() + shard) * servers() + server];
  }

  /// What is known of a rank now; what everybody goes by is the view.
  bool lives(int rank) const { return lines_[rank].fate.load(std::memory_order_acquire) == shm::Fate::Alive; }
  std::uint32_t term() const { return board_.term(); }
  View view() const { return board_.read(); }
  /// As all servers and clients begin.
  const View& first() const { return board_.first(); }
  /// Asks the kernel who has died, a system call, and leads. Throws CommError on the smaller side of a network that has
  /// split.
  void look();
  /// Some rank hears nothing of that one, though nobody says that it has died. It counts as lost for all, and stops if
  /// it hears of that, lest two ranks each take the other for dead and its shards for their own.
  void miss(int rank);
  /// Changes whenever somebody is found to be gone. A hint, which may be missed: `look` does not need it.
  std::uint32_t news() const { return news_->load(std::memory_order_relaxed); }
  /// A server of another node has no whole copy of a shard that it would own.
  void lose(int shard);
  /// Publishes the next view if the last no longer holds and it is this rank's turn.
  void lead();
  /// This rank counts as dead from now on, or has left.
  void end(shm::Fate fate);
  /// In the child of a fork: its copies of the links would outlive their owner.
  void forget_links();
  void wake_all();
  /// This rank's client asks nothing any more; then its server has no more to do.
  void close_client() const;
  bool clients_closed() const;
  /// "rank 3 (server 1)"
  std::string name(int server) const;

 private:
  std::size_t own_rank() const { return static_cast<std::size_t>(setup_.rank); }
  int place_of(const std::vector<int>& ranks) const;
  void share(const shm::Mapping& requests);
  void watch();
  bool note(int rank);
  bool cut_off();
  bool outdated(const View& last, const std::vector<char>& living) const;
  int leader(const std::vector<char>& living, bool of_node) const;
  View first_view() const;
  View next_view(const View& last, std::vector<char> living) const;

  Setup setup_;
  shm::Mapping requests_;
  std::vector<shm::Mapping> heaps_;
  std::vector<shm::Descriptor> watched_;  // by rank: its process, or a link to it; readable when it ends
  RankLine* lines_;
  Counters* counters_;
  std::atomic<std::int64_t>* places_;
  std::atomic<bool>* ready_;
  Ring* rings_;
  Ring* chains_;
  std::atomic<std::uint32_t>* news_;
  ViewBoard board_;
  std::mutex leading_, watching_;
  std::atomic<int> silent_judged_ = 0;
  std::atomic<bool> cut_off_ = false;
  std::uint32_t noticed_term_ = 0;  // the view that this rank has last seen to hold no longer, and when
  double noticed_ = 0;
};

}  // namespace pyccl::server
