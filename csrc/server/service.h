// A server: takes requests, applies them to the shards it owns, and passes them on to their replicas.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "server/group.h"
#include "server/outlet.h"
#include "server/shard.h"

namespace pyccl::server {

class Service {
 public:
  explicit Service(std::shared_ptr<Group> group);
  ~Service();

  void add_table(int shard, int number, std::unique_ptr<Table> table);
  void start();
  void stop();
  /// In the child of a fork: there is no thread here.
  void orphan() {
    if (thread_.joinable()) thread_.detach();
  }
  /// One look at everything, by any thread; true if anything moved. Does nothing while another thread does it.
  bool help();
  /// Why the server no longer works; empty while it does.
  std::string failure() const;
  /// Whether all clients have closed, or are gone, and everything is everywhere.
  bool finished();
  /// Runs `f(shard)` while the shard stands still; null if this server has no copy.
  template <class F> auto with_shard(int shard, F&& f) {
    const std::lock_guard lock(mutex_);
    return f(shards_[static_cast<std::size_t>(shard)].get());
  }

 private:
  bool turn();
  bool follow(Reader& reader);
  bool serve(int client);
  bool take(int client, Record& record);
  bool gather(int shard, const Record& head);
  void bury(int client);
  bool settle();
  void look();
  void lose(int server);
  void run();

  Shard& shard(int number) { return *shards_[static_cast<std::size_t>(number)]; }
  bool owns(int shard) const;
  bool caught_up();
  /// Who copies the shard from this server; -1 if nobody does.
  int successor(int shard) const;
  Outlet& outlet(int shard, int server);
  Record* reserve(int shard, std::uint32_t bytes);
  void publish(const Record& record);
  bool commit(Record& record);
  std::uint64_t safe(int shard) const;

  std::shared_ptr<Group> group_;
  int me_;
  std::vector<std::unique_ptr<Shard>> shards_;  // null where this server has no copy
  std::vector<Reader> clients_, predecessors_;  // predecessors: hop * servers + server
  std::vector<Outlet> outlets_;                 // to replicas, that many hops from the shard's first server
  std::vector<std::uint64_t> acknowledged_;     // last change that the successor has done, by shard
  std::vector<bool> dead_;                      // servers
  std::vector<bool> rung_;                      // whose bell to ring after this turn: clients, then servers
  std::vector<Record> scratch_;
  double looked_ = 0, lost_since_ = -1;
  std::mutex mutex_;
  mutable std::mutex failure_mutex_;
  std::string failure_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace pyccl::server
