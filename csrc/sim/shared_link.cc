#include "sim/shared_link.h"

#include <limits>

namespace pyccl::sim {

std::vector<double> push_pull(const PushPull& s) {
  constexpr double kNever = std::numeric_limits<double>::infinity();
  std::vector<double> finish(static_cast<std::size_t>(s.workers), 0);
  std::vector<int> round(static_cast<std::size_t>(s.workers), 0);
  const auto seconds = [&](std::uint32_t w) { return s.compute[static_cast<std::size_t>(w) * s.rounds + round[w]]; };
  Heap computing;
  SharedLink push(s.push_bandwidth), pull(s.pull_bandwidth);
  for (std::uint32_t w = 0; s.rounds > 0 && w < static_cast<std::uint32_t>(s.workers); ++w) {
    computing.push(Event::make(seconds(w), 0, w));
  }
  for (;;) {
    const double pulled = pull.busy() ? pull.next() : kNever;
    const double pushed = push.busy() ? push.next() : kNever;
    const double computed = computing.empty() ? kNever : computing.top().time;
    if (pulled <= pushed && pulled <= computed) {
      if (pulled == kNever) return finish;
      const std::uint32_t w = pull.leave(pulled);
      if (++round[w] < s.rounds) computing.push(Event::make(pulled + seconds(w), 0, w));
      else finish[w] = pulled;
    } else if (pushed <= computed) {
      pull.enter(push.leave(pushed), s.pull, pushed);
    } else {
      push.enter(computing.pop().who(), s.push, computed);
    }
  }
}

}  // namespace pyccl::sim
