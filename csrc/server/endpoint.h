// What one rank has of a parameter server: its client, its server, or both.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/client.h"
#include "server/service.h"

namespace pyccl::server {

struct TableSpec {
  std::string name;
  Flow flow = Flow::Immediate;
  bool mean = false;                              // a version is the mean of its gradients
  bool wide = false;                              // gradients of a dense table are added up in double
  kernels::Codec wire = kernels::Codec::Float32;  // of gradients
  kernels::Optimizer optimizer;
  Compensation compensation;                 // of a dense table
  std::shared_ptr<const policy::Rule> rule;  // as it is before the first request
};

class Endpoint {
 public:
  /// `remote` carries messages to other nodes, if there are any.
  Endpoint(std::shared_ptr<Group> group, double timeout, std::function<void()> poll,
           std::shared_ptr<Remote> remote = nullptr);
  ~Endpoint() { stop(0); }

  const Group& group() const { return *group_; }
  /// Throws CommError if this rank is none.
  Client& client();
  Service* service() { return service_.get(); }

  /// The same on every rank, in the same order. `initial` is the whole table.
  void add_dense(const TableSpec& spec, const std::vector<std::int64_t>& bounds, const float* initial);
  /// `home`: the shard that all rows are in; -1: they are spread.
  void add_sparse(const TableSpec& spec, SparseSetting setting, int home);
  /// Starts the server; all ranks have all tables that exist so far.
  void start();
  /// Ends this rank's part; waits at most so many seconds until other nodes have heard of it. True, once, if all have,
  /// and no message is left under way.
  bool stop(double patience);
  /// In the child of a fork.
  void orphan();
  /// Zeros where all ranks are on one node.
  Courier::Carried carried() { return courier_ ? courier_->carried() : Courier::Carried{}; }
  /// Why this rank's part no longer works; empty while it does.
  std::string failure() const;

 private:
  std::shared_ptr<Group> group_;
  std::shared_ptr<Courier> courier_;
  std::shared_ptr<Service> service_;
  std::unique_ptr<Client> client_;
  void check_room() const;
  DenseMemory memory_of(int table, int shard, std::int64_t count, int slots);

  bool stopped_ = false;
  int tables_ = 0;
  std::int64_t used_ = 0;  // of this server's heap
};

}  // namespace pyccl::server
