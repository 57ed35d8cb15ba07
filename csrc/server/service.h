// A server: takes requests, applies them to the shards it owns, and passes them on to their replicas.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/courier.h"
#include "server/group.h"
#include "server/handover.h"
#include "server/outlet.h"
#include "server/shard.h"

namespace pyccl::server {

class Service {
 public:
  /// `courier` is null where all ranks are on one node.
  explicit Service(std::shared_ptr<Group> group, std::shared_ptr<Courier> courier = nullptr);
  ~Service();

  /// A table that every shard has a part of, or none: `make` returns a shard's, empty, null if it has none.
  using Make = std::function<std::unique_ptr<Table>(int shard)>;
  void define(int number, Make make);
  void start();
  void stop();
  /// In the child of a fork: there is no thread here.
  void orphan() {
    if (thread_.joinable()) thread_.detach();
  }
  /// One look at everything, by any thread; true if anything moved. Does nothing while another thread does it.
  bool help();
  /// The thread of this process's client turns to the server's work while it waits: the server's own thread rests, and
  /// nobody wakes it, until the client no longer does.
  void attend();
  void leave_alone();
  /// Why the server no longer works; empty while it does.
  std::string failure() const;
  /// Whether all clients have closed, or are gone, and everything is everywhere.
  bool finished();

 private:
  void fail(const std::string& why);
  bool turn();
  bool settle();
  void run();
  void rest();

  // What clients ask.
  Outlet& outlet(int server, int shard) {
    return outlets_[static_cast<std::size_t>(server * group_->shards() + shard)];
  }
  Reader& asked(int shard, int client) {
    return clients_[static_cast<std::size_t>(shard * group_->clients() + client)];
  }
  bool serve(int client);
  bool take(int number, int client, Record& record);
  bool send_back();
  bool gather(int shard, const Record& head);
  void bury(int client);
  bool commit(Record& record);

  // What replicas hear.
  void look();
  void follow_view();
  void link();
  bool hand_over();
  bool follow(Reader& predecessor, std::size_t server);
  void replicate(Record& record);
  void adopt(const Record& record);

  Shard& shard(int number) { return *shards_[static_cast<std::size_t>(number)]; }
  int linked(int shard) const { return links_[static_cast<std::size_t>(shard)]; }
  bool owns(int shard) const;
  bool stands_still(int shard) const { return handovers_[static_cast<std::size_t>(shard)] != nullptr; }
  bool caught_up();
  void publish(int shard, const Record& record);
  std::uint64_t safe(int shard) const;

  std::shared_ptr<Group> group_;
  std::shared_ptr<Courier> courier_;
  int me_;
  std::vector<std::pair<int, Make>> definitions_;
  std::vector<std::unique_ptr<Shard>> shards_;  // null where this server has no copy
  std::vector<Reader> clients_, predecessors_;  // by shard and client, and by server and shard
  std::vector<Outlet> outlets_;                 // by server and shard
  // By shard: to whom changes are passed on, -1: nobody; the last change that he has done; his copy in the making.
  std::vector<int> links_;
  std::vector<std::uint64_t> acknowledged_;
  std::vector<std::unique_ptr<Handover>> handovers_;
  std::vector<std::deque<std::string>> put_by_;  // changes that have come meanwhile
  std::vector<std::vector<char>> states_;        // that come for a copy of this server's own, by shard
  View view_;                                    // by which this server goes
  std::uint32_t news_ = 0;                       // that it has heard
  bool stray_ = false;                           // whether to look for requests that came to the wrong server
  std::vector<bool> in_line_;  // whether this server is to have a copy, by shard: rings of others are empty
  std::vector<bool> dead_;     // servers
  std::vector<bool> rung_;     // whose bell to ring after this turn: clients, then servers
  std::vector<Record> scratch_;
  std::vector<std::vector<float>> decoded_;  // by client
  double looked_ = 0, lost_since_ = -1;
  std::mutex mutex_;
  mutable std::mutex failure_mutex_;
  std::string failure_;
  std::atomic<bool> stopping_ = false, failed_ = false;
  std::atomic<bool> attended_ = false, resting_ = false;
  std::thread thread_;
};

}  // namespace pyccl::server
