// The parameter server with ranks as threads, over one mapping or several as if on several nodes, for ThreadSanitizer.
// Exits with 1 on a wrong value.
// Parameters may be read while they are written, and are read again then (DenseMemory): that is the one race wanted.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "server/endpoint.h"
#include "tests/post.h"

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
  endpoint.add_sparse(spec("rows", Flow::Clocked, false, policy::make_clocks(size, 2)), rows, -1);
}

void work(Client& client, int rank, bool damaged = false) {
  const auto check = [damaged](bool good, const char* what, int of, int step) {
    if (!damaged) ::check(good, what, of, step);
  };
  std::vector<float> gradient(static_cast<std::size_t>(kCount), -1), out(gradient.size());
  std::vector<std::int64_t> ids{rank, 1000, 7, 1000};
  for (std::int64_t more = 2000; more < 2100; ++more) ids.push_back(more);  // lists that are worth keeping
  std::vector<float> rows(ids.size() * kDim, -1), found(rows.size());
  for (int step = 1; step <= kSteps; ++step) {
    client.push_pull(0, gradient.data(), out.data());
    for (const float value : out) check(value == static_cast<float>(step), "wrong mean", rank, step);
    const Ticket pushed = client.push(1, gradient.data());
    client.pull(1, out.data());
    for (const float value : out) check(value >= static_cast<float>(step), "own write not read", rank, step);
    client.push_rows(2, ids.data(), rows.data(), static_cast<std::int64_t>(ids.size()), 0);
    client.pull_rows(2, ids.data(), static_cast<std::int64_t>(ids.size()), found.data());
    check(found[kDim] >= 2 * static_cast<float>(step), "own row not read", rank, step);
    client.clock();
    client.wait(pushed, 60);
  }
}

struct Node {
  shm::Descriptor requests;
  std::unique_ptr<Group> mapped;
};

/// `per_node` ranks share a mapping. `damage`: that share of the messages between nodes is changed; then an error is as
/// good as the right values.
void run(int size, int replicas, shm::WaitPolicy policy, int per_node = 0, double damage = 0) {
  std::vector<int> ranks, nodes;
  for (int rank = 0; rank < size; ++rank) {
    ranks.push_back(rank);
    if (per_node > 0) nodes.push_back(rank / per_node);
  }
  const std::vector<std::int64_t> pids(static_cast<std::size_t>(size), getpid());
  const std::vector<int> links(static_cast<std::size_t>(size), -1);
  const auto setup = [&](int rank) { return Setup{rank, size, ranks, ranks, replicas, pids, policy, nodes, links}; };
  std::vector<shm::Descriptor> heaps;
  for (int rank = 0; rank < size; ++rank) heaps.push_back(Group::create_heap());
  std::vector<Node> shared;
  tests::PostOffice office;
  std::vector<std::unique_ptr<Endpoint>> endpoints;
  for (int rank = 0; rank < size; ++rank) {
    if (nodes.empty() ? rank == 0 : rank % per_node == 0) {
      std::vector<int> fds;
      for (int other = 0; other < size; ++other) {
        const bool here =
            nodes.empty() || nodes[static_cast<std::size_t>(other)] == nodes[static_cast<std::size_t>(rank)];
        fds.push_back(here ? heaps[static_cast<std::size_t>(other)].get() : -1);
      }
      Node& node = shared.emplace_back(Group::create_requests(size, size, size, replicas), nullptr);
      node.mapped = std::make_unique<Group>(setup(rank), node.requests.get(), fds);
    }
    auto group = std::make_shared<Group>(setup(rank), *shared.back().mapped);
    auto post = nodes.empty() ? nullptr : std::make_shared<tests::Post>(office, rank, damage);
    const double timeout = damage > 0 ? 1 : 60;
    add_tables(*endpoints.emplace_back(std::make_unique<Endpoint>(std::move(group), timeout, nullptr, post)), size);
  }
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      Endpoint& endpoint = *endpoints[static_cast<std::size_t>(rank)];
      try {
        endpoint.start();
        work(endpoint.client(), rank, damage > 0);
        endpoint.client().leave();
      } catch (const std::exception& error) {
        if (damage == 0) std::fprintf(stderr, "%s\n", error.what());
        check(damage > 0, "an error", rank, 0);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (damage == 0) {
    std::vector<float> out(static_cast<std::size_t>(kCount));
    endpoints[0]->client().pull(1, out.data());
    for (const float value : out) check(value == static_cast<float>(size * kSteps), "wrong sum", 0, kSteps);
  }
  for (int rank = 0; rank < size; ++rank)
    threads[static_cast<std::size_t>(rank)] =
        std::thread([&, rank] { endpoints[static_cast<std::size_t>(rank)]->stop(damage > 0 ? 0.1 : 60); });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

int main() {
  run(1, 0, {false, 300e-6, 0});
  run(2, 1, {false, 300e-6, 0});
  run(3, 0, {true, 0, 64});
  run(4, 2, {true, 0, 0});
  run(2, 0, {true, 0, 64}, 1);
  run(4, 1, {true, 0, 64}, 2);
  for (const double damage : {0.001, 0.01, 0.1}) run(3, 1, {true, 0, 64}, 1, damage);
  std::puts("server_threads: ok");
}
