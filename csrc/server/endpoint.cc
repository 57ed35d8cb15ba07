#include "server/endpoint.h"

#include <cstring>
#include <stdexcept>
#include <utility>

#include "core/buffer.h"

namespace pyccl::server {

Endpoint::Endpoint(Setup setup, int requests, const std::vector<int>& heaps, double timeout, std::function<void()> poll)
    : group_(std::make_shared<Group>(std::move(setup), requests, heaps)) {
  if (group_->own_server() >= 0) service_ = std::make_shared<Service>(group_);
  if (group_->own_client() >= 0) client_ = std::make_unique<Client>(group_, timeout, std::move(poll), service_);
}

Client& Endpoint::client() {
  if (!client_) throw std::logic_error("this rank is a server, not a worker");
  return *client_;
}

void Endpoint::add_dense(const TableSpec& spec, const std::vector<std::int64_t>& bounds, const float* initial) {
  if (tables_ == kMaxTables) throw std::length_error("more than " + std::to_string(kMaxTables) + " tables");
  const int table = tables_;
  const int slots = kernels::slots(spec.optimizer.method);
  const int me = group_->own_server(), servers = group_->servers();
  for (int step = 0; service_ && step <= group_->replicas(); ++step) {
    const int shard = (me - step + servers) % servers;
    const std::int64_t begin = bounds[static_cast<std::size_t>(shard)];
    const std::int64_t count = bounds[static_cast<std::size_t>(shard) + 1] - begin;
    if (count == 0) continue;
    const std::int64_t bytes = DenseMemory::bytes(count, slots);
    if (used_ + bytes > kHeapBytes) throw std::length_error("the server's address space is full");
    char* base = group_->heap(me) + used_;
    shm::populate(base, bytes);
    const DenseMemory memory(base, count, slots);
    std::memcpy(memory.column(0), initial + begin, static_cast<std::size_t>(count) * 4);
    auto storage = std::make_unique<DenseStorage>(memory, spec.optimizer, group_->clients());
    service_->add_table(shard, table,
                        std::make_unique<Table>(spec.flow, spec.mean, spec.rule->clone(), std::move(storage)));
    group_->place(table, shard, me).store(used_ + 1, std::memory_order_release);
    used_ += bytes;
  }
  if (client_) client_->add_dense(table, spec.name, bounds, slots);
  ++tables_;
}

void Endpoint::start() {
  if (service_) service_->start();
}

}  // namespace pyccl::server
