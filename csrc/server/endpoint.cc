#include "server/endpoint.h"

#include <cstring>
#include <stdexcept>
#include <utility>

#include "core/buffer.h"
#include "core/error.h"

namespace pyccl::server {

Endpoint::Endpoint(std::shared_ptr<Group> group, double timeout, std::function<void()> poll,
                   std::shared_ptr<Remote> remote)
    : group_(std::move(group)) {
  if (group_->several_nodes()) courier_ = std::make_shared<Courier>(group_, std::move(remote));
  if (group_->own_server() >= 0) service_ = std::make_shared<Service>(group_, courier_);
  if (group_->own_client() >= 0)
    client_ = std::make_unique<Client>(group_, timeout, std::move(poll), service_, courier_);
}

Client& Endpoint::client() {
  if (!client_) {
    throw CommError("rank " + std::to_string(group_->rank()) +
                    " is a server, not a worker: only workers push, pull, save and load");
  }
  return *client_;
}

/// Where this server has, or will have, a dense table's shard. Called by one thread at a time.
DenseMemory Endpoint::memory_of(int table, int shard, std::int64_t count, int slots) {
  const int me = group_->own_server();
  std::atomic<std::int64_t>& place = group_->place(table, shard, me);
  if (place == 0) {
    const std::int64_t bytes = DenseMemory::bytes(count, slots);
    if (used_ + bytes > kHeapBytes) throw std::length_error("the server's address space is full");
    shm::populate(group_->heap(me) + used_, bytes);
    place = used_ + 1;
    used_ += bytes;
  }
  return {group_->heap(me) + place - 1, count, slots};
}

void Endpoint::check_room() const {
  if (tables_ == kMaxTables) throw std::length_error("more than " + std::to_string(kMaxTables) + " tables");
}

void Endpoint::add_sparse(const TableSpec& spec, SparseSetting setting, int home) {
  check_room();
  if (home >= group_->shards()) throw std::invalid_argument("a table's home is no shard");
  setting.optimizer = spec.optimizer;
  if (service_) {
    service_->define(tables_, [this, spec, setting, home](int shard) {
      if (home >= 0 && shard != home) return std::unique_ptr<Table>();
      return std::make_unique<Table>(spec.flow, spec.mean, spec.rule->clone(),
                                     std::make_unique<SparseStorage>(setting, group_->clients()));
    });
  }
  if (client_)
    client_->add_sparse(tables_, spec.name, spec.wire, setting.dim, kernels::slots(spec.optimizer.method), home);
  ++tables_;
}

void Endpoint::add_dense(const TableSpec& spec, const std::vector<std::int64_t>& bounds, const float* initial) {
  check_room();
  const int table = tables_, slots = kernels::slots(spec.optimizer.method);
  if (service_) {
    service_->define(table, [this, table, slots, spec, bounds](int shard) {
      const auto i = static_cast<std::size_t>(shard);
      const std::int64_t count = bounds[i + 1] - bounds[i];
      if (count == 0) return std::unique_ptr<Table>();
      auto storage = std::make_unique<DenseStorage>(memory_of(table, shard, count, slots), spec.optimizer,
                                                    spec.compensation, group_->clients(), spec.wide);
      return std::make_unique<Table>(spec.flow, spec.mean, spec.rule->clone(), std::move(storage));
    });
    for (int shard = 0; shard < group_->shards(); ++shard) {
      const std::int64_t place = group_->place(table, shard, group_->own_server());
      if (place == 0) continue;
      const auto i = static_cast<std::size_t>(shard);
      const std::int64_t count = bounds[i + 1] - bounds[i];
      const DenseMemory memory(group_->heap(group_->own_server()) + place - 1, count, slots);
      std::memcpy(memory.column(0), initial + bounds[i], static_cast<std::size_t>(count) * 4);
    }
  }
  const bool prompt = spec.flow != Flow::Buffered;
  if (client_) client_->add_dense(table, spec.name, spec.wire, bounds, slots, prompt);
  ++tables_;
}

void Endpoint::start() {
  if (service_) service_->start();
  if (courier_) courier_->start();
}

bool Endpoint::stop(double patience) {
  if (std::exchange(stopped_, true)) return false;
  const bool clean = courier_ && courier_->part(patience);
  if (service_) service_->stop();
  if (courier_) courier_->stop();
  group_->end(shm::Fate::Left);
  return clean;
}

void Endpoint::orphan() {
  stopped_ = true;
  if (service_) service_->orphan();
  if (courier_) courier_->orphan();
  group_->forget_links();
}

std::string Endpoint::failure() const {
  std::string why = service_ ? service_->failure() : "";
  return why.empty() && courier_ ? courier_->failure() : why;
}

}  // namespace pyccl::server
