// The shared-memory protocol with ranks as threads over one mapping, for ThreadSanitizer: it does not see races
// between processes. Exits with 1 on a wrong element; the sanitizer exits by itself on a race.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "comm/communicator.h"
#include "core/error.h"

namespace {

using namespace pyccl;

std::vector<int> others(int rank, int size) {
  std::vector<int> ranks;
  for (int q = 0; q < size; ++q) {
    if (q != rank) ranks.push_back(q);
  }
  return ranks;
}

Schedule one_shot(int size) {
  Schedule s{Collective::AllReduce, size, -1, 1, {}};
  for (int r = 0; r < size; ++r) {
    s.ranks.push_back({{StepKind::Send, 0, -1, others(r, size)}, {StepKind::RecvReduce, 0, -1, others(r, size)}});
  }
  return s;
}

Schedule two_shot(int size) {
  Schedule s{Collective::AllReduce, size, -1, size, {}};
  for (int r = 0; r < size; ++r) {
    std::vector<Step> steps;
    for (int q : others(r, size)) steps.push_back({StepKind::Send, q, -1, {q}});
    steps.push_back({StepKind::RecvReduce, r, -1, others(r, size)});
    steps.push_back({StepKind::Send, r, -1, others(r, size)});
    for (int q : others(r, size)) steps.push_back({StepKind::Recv, q, -1, {q}});
    s.ranks.push_back(steps);
  }
  return s;
}

Schedule ring(int size) {
  Schedule s{Collective::AllReduce, size, -1, size, {}};
  const auto chunk = [size](int c) { return ((c % size) + size) % size; };
  for (int r = 0; r < size; ++r) {
    std::vector<Step> steps;
    const int right = chunk(r + 1), left = chunk(r - 1);
    for (int k = 0; k < size - 1; ++k) {
      steps.push_back({StepKind::Send, chunk(r - k), -1, {right}});
      steps.push_back({StepKind::RecvReduce, chunk(r - k - 1), -1, {left}});
    }
    for (int k = 0; k < size - 1; ++k) {
      steps.push_back({StepKind::Send, chunk(r + 1 - k), -1, {right}});
      steps.push_back({StepKind::Recv, chunk(r - k), -1, {left}});
    }
    s.ranks.push_back(steps);
  }
  return s;
}

void check(bool good, const char* what, int rank, int step) {
  if (good) return;
  std::fprintf(stderr, "shm_threads: %s on rank %d in step %d\n", what, rank, step);
  std::_Exit(1);
}

/// A collective; every fifth time one rank refuses, every seventh they disagree: the protocol must go on either way.
void step(Communicator& comm, int index, int algorithm) {
  static constexpr std::int64_t kCounts[] = {1, 7, 40, 1000, 70000, 300000};
  const std::int64_t count = kCounts[index % 6];
  const int size = comm.size(), rank = comm.rank();
  std::vector<float> x(static_cast<std::size_t>(count + 1), static_cast<float>(rank + index));
  Prepared p;
  p.call.kind = Collective::AllReduce;
  p.call.dtype = DataType::F32;
  p.call.algorithm = algorithm;
  p.call.input = p.call.output = x.data();
  p.call.count = index % 7 == 6 && rank == 0 ? count + 1 : count;
  if (index % 5 == 4 && rank == size - 1)
    return comm.refuse("for a test", -1, comm.flight().open({}, FlightState::Running));
  check(comm.prepare(p), "no program", rank, index);
  try {
    comm.execute(p, comm.enter(p.call, FlightState::Running, 0));
  } catch (const PeerAborted&) {
    return check(index % 5 == 4, "unexpected refusal", rank, index);
  } catch (const MismatchError&) {
    return check(index % 7 == 6, "unexpected mismatch", rank, index);
  }
  const float total = static_cast<float>(size * (size - 1) / 2 + size * index);
  for (std::int64_t i = 0; i < count; ++i) check(x[i] == total, "wrong element", rank, index);
}

void ring_of_messages(Communicator& comm, int index) {
  const std::int64_t bytes = index % 2 ? 100 : 200000;
  std::vector<char> out(static_cast<std::size_t>(bytes), static_cast<char>(comm.rank())), in(out.size());
  const int right = (comm.rank() + 1) % comm.size(), left = (comm.rank() + comm.size() - 1) % comm.size();
  std::vector<MessageCall> messages(2);
  for (int i = 0; i < 2; ++i) {
    messages[i].sends = i == 0;
    messages[i].peer = i == 0 ? right : left;
    messages[i].data = i == 0 ? out.data() : in.data();
    messages[i].count = bytes;
    messages[i].dtype = DataType::U8;
  }
  comm.transfer(messages);
  for (char value : in) check(value == static_cast<char>(left), "wrong byte", comm.rank(), index);
}

void run(int size, shm::WaitPolicy policy, int steps) {
  const shm::Segment segment = shm::Segment::create(size);
  std::vector<int> ranks;
  for (int r = 0; r < size; ++r) ranks.push_back(r);
  const std::vector<std::int64_t> pids(static_cast<std::size_t>(size), getpid());
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      Communicator::Setup setup{rank, size, std::vector<int>(static_cast<std::size_t>(size), 0), 120};
      auto node = std::make_unique<shm::Node>(segment.same_mapping(), rank, ranks, pids, policy);
      Communicator comm(setup, std::move(node), nullptr);
      const std::vector<std::pair<const char*, std::function<Schedule(int)>>> algorithms{
          {"one_shot", one_shot}, {"two_shot", two_shot}, {"ring", ring}};
      for (const auto& [name, make] : algorithms) comm.add_program(comm.algorithm_index(name), make(size));
      for (int i = 0; i < steps; ++i) {
        step(comm, i, i % 3);
        ring_of_messages(comm, i);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

int main() {
  run(2, {false, 300e-6, 0}, 60);
  run(3, {true, 0, 64}, 60);
  run(4, {true, 0, 0}, 60);
  std::puts("shm_threads: ok");
}
