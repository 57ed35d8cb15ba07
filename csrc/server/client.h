// A worker's side: cuts gradients into records, sends them to the owners of their shards, and finds new owners when
// those die.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "server/dense.h"
#include "server/group.h"
#include "server/outlet.h"
#include "server/service.h"
#include "server/sparse.h"

namespace pyccl::server {

/// What was asked, until it is done: of each shard the number of the last request.
using Ticket = std::vector<std::uint64_t>;

class Client {
 public:
  /// `poll` is called in every wait, at least every 50 ms, and may throw; `own` is the server of this process, if any;
  /// `courier` is null where all ranks are on one node.
  Client(std::shared_ptr<Group> group, double timeout, std::function<void()> poll, std::shared_ptr<Service> own,
         std::shared_ptr<Courier> courier);

  /// A dense table: shard i has its elements [bounds[i], bounds[i + 1]). `prompt`: a gradient's piece is applied when
  /// it is done, not kept for a later version.
  void add_dense(int table, std::string name, kernels::Codec wire, std::vector<std::int64_t> bounds, int slots,
                 bool prompt);
  /// `home`: the shard that all its rows are in; -1: they are spread.
  void add_sparse(int table, std::string name, kernels::Codec wire, std::int64_t dim, int slots, int home);

  /// Returns when the gradient has been handed over; the ticket is done when it is on all replicas.
  Ticket push(int table, const float* gradient);
  /// Waits until the rule lets this client begin, and copies the parameters.
  void pull(int table, float* out);
  /// Both at once: pieces are read as they are done, while others are on their way.
  Ticket push_pull(int table, const float* gradient, float* out);
  /// Rows of a sparse table. Ids may occur several times; a gradient's rows are summed then. Nothing is pushed, and
  /// none returned, if a sum is not below `limit`, unless that is 0.
  std::optional<Ticket> push_rows(int table, const std::int64_t* ids, const float* rows, std::int64_t n, float limit);
  void pull_rows(int table, const std::int64_t* ids, std::int64_t n, float* out);
  /// Rows of a shard with all that belongs to them, from place `begin` on; returns the next place, -1 at the end.
  std::int64_t export_rows(int table, int shard, std::int64_t begin, SparseRows& out);
  Ticket import_rows(int table, const SparseRows& rows);
  /// Copies a shard's parameters (column 0) or a slot of its optimiser's state, and how often each piece was updated.
  void read(int table, int shard, int column, float* out, std::int64_t* steps);
  /// Overwrites the same.
  Ticket load(int table, int shard, int column, const float* values, const std::int64_t* steps);
  Ticket clock();
  /// Pushes nothing any more; nobody waits for it, and it waits for nobody. Done on all replicas.
  void leave();

  bool done(const Ticket& ticket);
  void wait(const Ticket& ticket, double timeout);
  void set_timeout(double seconds) { timeout_ = seconds; }
  /// For tests: from now on this client takes another server for a shard's owner, as the view of that term might have.
  void mistake(int shard, int server, std::uint32_t term);

  struct Seen {
    std::vector<std::int64_t> staleness;  // histogram over (push, shard)
    std::int64_t applied = 0, dropped = 0;
  };
  Seen seen(int table);

 private:
  struct TableInfo {
    std::string name;
    kernels::Codec wire;  // of gradients
    std::vector<std::int64_t> bounds;
    std::int64_t dim = 0;  // of a sparse table
    int slots = 0;         // of the optimiser
    int home = -1;         // of a sparse table
    bool prompt = false;
    bool stream = false;  // reads are written past the caches
    Ticket pushed;        // by shard: the first request of the last gradient
    Seen seen;
  };
  using Take = std::function<void(const Record& answer)>;

  TableInfo& info(int table) { return tables_.at(static_cast<std::size_t>(table)); }
  /// What has been sent of a gradient: by shard the next piece.
  struct Sending {
    std::vector<int> shards;
    std::vector<std::int64_t> next;
    std::size_t left;
  };
  /// What has been read of a shard. A piece that was read before the request to begin was answered holds if its guard
  /// is the same after it.
  struct Reading {
    int shard, owner;
    bool asked = false;  // to begin, by that request
    std::uint64_t begun = 0;
    bool fetching = false;                // by requests, since the owner is on another node, or was
    std::int64_t next = 0, checked = 0;   // pieces
    std::vector<std::uint32_t> guards{};  // of those that were read early
  };
  std::vector<int> shards_of(const TableInfo& table) const;
  Sending start_sending(int table, const std::vector<int>& shards);
  bool send(int table, const float* gradient, Sending& sending);
  std::vector<Reading> start_reading(const std::vector<int>& shards) const;
  /// True once a shard has been read whole, as it is after the request to begin.
  bool read_on(int table, Reading& reading, float* out);
  /// A record for the owner of a shard; null if there is no room now.
  Record* reserve(int shard, Kind kind, int table, std::int64_t payload);
  void publish(Record& record);
  Outlet& outlet(int server, int shard) {
    return outlets_[static_cast<std::size_t>(server * group_->shards() + shard)];
  }
  /// Reserves, waiting for room.
  Record& make_room(int shard, Kind kind, int table, std::int64_t payload, const std::string& what);
  void begin(const std::vector<int>& shards, int table, const std::string& what);
  void read_whole(int table, std::vector<Reading>& readings, float* out, const std::string& what);
  void check_working(const std::string& what) const;
  Ticket tell_all(Kind kind, const std::string& what);
  bool send_piece(const TableInfo& info, int table, int shard, std::int64_t piece, const float* gradient);
  DenseMemory memory(int table, int shard) const;
  bool read_shard(int table, int shard, int column, float* out, std::int64_t* steps = nullptr) const;
  bool far(int shard) const { return !group_->here(group_->rank_of(owners_[static_cast<std::size_t>(shard)])); }
  bool fetch(int table, int shard, int column, std::int64_t& next, float* out, std::int64_t* steps);
  bool help();

  bool advance();
  void land(const Record& record);
  void follow_view();
  void follow_owner(int shard);
  void give_up(const std::string& why);
  /// Returns when `ready()`; serves this process's own shards meanwhile.
  void drive(const std::string& what, double timeout, const std::function<bool()>& ready);
  /// The same, for a request: one that is cut short ends this client.
  void request(const std::string& what, const std::function<bool()>& ready);
  [[noreturn]] void time_out(const std::string& what, double timeout) const;
  void check_owned(const std::vector<int>& shards) const;
  bool reached(const Ticket& ticket) const;
  /// All that has been asked of some shards. Others may be lost, with what was asked of them.
  Ticket asked_of(const std::vector<int>& shards) const;

  std::shared_ptr<Group> group_;
  double timeout_;
  std::function<void()> poll_;
  std::shared_ptr<Service> own_;
  std::shared_ptr<Courier> courier_;
  std::vector<TableInfo> tables_;
  std::vector<Outlet> outlets_;                // by server and shard
  View view_;                                  // by which this client goes
  std::vector<int> owners_;                    // by shard, as this client knows them; -1: lost
  std::vector<std::uint32_t> terms_;           // of the views that named them
  std::vector<std::deque<std::string>> back_;  // requests that were sent back, by shard, in order
  Ticket issued_, done_;                       // by shard
  std::vector<std::deque<Take>> rows_;         // who takes the answers to what only reads, by shard, in order
  std::string refused_, broken_;
  bool finished_ = false;
  std::mutex mutex_;
};

}  // namespace pyccl::server
