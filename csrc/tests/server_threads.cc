// The parameter server with ranks as threads over one mapping, for ThreadSanitizer. Exits with 1 on a wrong value.
// Parameters may be read while they are written, and are read again then (DenseMemory): that is the one race wanted.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "server/endpoint.h"

namespace {

using namespace pyccl;
using namespace pyccl::server;

constexpr std::int64_t kCount = 3 * kPieceElements + 5, kDim = 4;
constexpr int kSteps = 40;

void check(bool good, const char* what, int rank, int step) {
  if (good) return;
  std::fprintf(stderr, "server_threads: %s on rank %d in step %d\n", what, rank, step);
  std::_Exit(1);
}

TableSpec spec(const char* name, Flow flow, bool mean, std::shared_ptr<const policy::Rule> rule) {
  TableSpec made;
  made.name = name;
  made.flow = flow;
  made.mean = mean;
  made.optimizer.method = kernels::Method::Sgd;
  made.optimizer.rate = 1;
  made.rule = std::move(rule);
  return made;
}

void add_tables(Endpoint& endpoint, int size) {
  std::vector<std::int64_t> bounds;
  for (int i = 0; i <= size; ++i) bounds.push_back(kCount * i / size);
  const std::vector<float> zeros(static_cast<std::size_t>(kCount));
  endpoint.add_dense(spec("mean", Flow::Averaged, true, policy::make_quorum(size, {size, true, true})), bounds,
                     zeros.data());
  endpoint.add_dense(spec("free", Flow::Immediate, false, policy::make_free(size, policy::Rule::kUnbounded, false)),
                     bounds, zeros.data());
  SparseSetting rows;
  rows.dim = kDim;
  endpoint.add_sparse(spec("rows", Flow::Clocked, false, policy::make_clocks(size, 2)), rows);
}

void work(Client& client, int rank) {
  std::vector<float> gradient(static_cast<std::size_t>(kCount), -1), out(gradient.size());
  const std::vector<std::int64_t> ids{rank, 1000, 7, 1000};
  std::vector<float> rows(ids.size() * kDim, -1), found(rows.size());
  for (int step = 1; step <= kSteps; ++step) {
    client.push_pull(0, gradient.data(), out.data());
    for (const float value : out) check(value == static_cast<float>(step), "wrong mean", rank, step);
    const Ticket pushed = client.push(1, gradient.data());
    client.pull(1, out.data());
    for (const float value : out) check(value >= static_cast<float>(step), "own write not read", rank, step);
    client.push_rows(2, ids.data(), rows.data(), static_cast<std::int64_t>(ids.size()));
    client.pull_rows(2, ids.data(), static_cast<std::int64_t>(ids.size()), found.data());
    check(found[kDim] >= 2 * static_cast<float>(step), "own row not read", rank, step);
    client.clock();
    client.wait(pushed, 60);
  }
}

void run(int size, int replicas, shm::WaitPolicy policy) {
  std::vector<int> ranks;
  for (int rank = 0; rank < size; ++rank) ranks.push_back(rank);
  const std::vector<std::int64_t> pids(static_cast<std::size_t>(size), getpid());
  const auto setup = [&](int rank) { return Setup{rank, size, ranks, ranks, replicas, pids, policy}; };
  const shm::Descriptor requests = Group::create_requests(size, size, size, replicas);
  std::vector<shm::Descriptor> heaps;
  std::vector<int> fds;
  for (int rank = 0; rank < size; ++rank) fds.push_back(heaps.emplace_back(Group::create_heap()).get());
  const Group mapped(setup(0), requests.get(), fds);
  std::vector<std::unique_ptr<Endpoint>> endpoints;
  for (int rank = 0; rank < size; ++rank) {
    auto group = std::make_shared<Group>(setup(rank), mapped);
    add_tables(*endpoints.emplace_back(std::make_unique<Endpoint>(std::move(group), 60, nullptr)), size);
  }
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      endpoints[static_cast<std::size_t>(rank)]->start();
      work(endpoints[static_cast<std::size_t>(rank)]->client(), rank);
      endpoints[static_cast<std::size_t>(rank)]->client().leave();
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<float> out(static_cast<std::size_t>(kCount));
  endpoints[0]->client().pull(1, out.data());
  for (const float value : out) check(value == static_cast<float>(size * kSteps), "wrong sum", 0, kSteps);
  for (auto& endpoint : endpoints) endpoint->service()->stop();
}

}  // namespace

int main() {
  run(1, 0, {false, 300e-6, 0});
  run(2, 1, {false, 300e-6, 0});
  run(3, 0, {true, 0, 64});
  run(4, 2, {true, 0, 0});
  std::puts("server_threads: ok");
}
