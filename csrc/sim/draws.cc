#include "sim/draws.h"

#include "sim/random.h"

namespace pyccl::sim {

bool Draws::is_slow(std::uint32_t worker, std::uint64_t iteration) const {
  if (enter <= 0) return false;
  std::uint64_t back = iteration + 1;
  bool state = false;
  while (back > 0) {
    const double u = uniform(seed, worker, --back, Stream::Slowness);
    const bool from_fast = u < enter, from_slow = u < 1 - leave;
    if (from_fast != from_slow) continue;
    state = from_fast;
    break;
  }
  for (std::uint64_t i = back; i <= iteration; ++i) {
    state = uniform(seed, worker, i, Stream::Slowness) < (state ? 1 - leave : enter);
  }
  return state;
}

double Draws::seconds(std::uint32_t worker, std::uint64_t iteration) const {
  const bool constant = compute.kind == Distribution::Kind::Constant;
  const double drawn = constant ? compute.a : compute.quantile(uniform(seed, worker, iteration, Stream::Compute));
  return drawn * (factors.size() == 1 ? factors[0] : factors[worker]) * (is_slow(worker, iteration) ? slow : 1);
}

void Draws::fill(std::uint32_t workers, std::uint64_t first, std::uint64_t count, double* seconds) const {
  const bool constant = compute.kind == Distribution::Kind::Constant;
  for (std::uint32_t w = 0; w < workers; ++w, seconds += count) {
    const double factor = factors.size() == 1 ? factors[0] : factors[w];
    for (std::uint64_t i = 0; i < count;) {
      if (constant) {
        seconds[i++] = compute.a * factor;
        continue;
      }
      const auto both = uniforms(seed, w, (first + i) / 2, Stream::Compute);
      seconds[i] = compute.quantile(both[(first + i) % 2]) * factor;
      if ((first + i++) % 2 == 0 && i < count) {
        seconds[i] = compute.quantile(both[1]) * factor;
        ++i;
      }
    }
    if (enter <= 0 || count == 0) continue;
    bool state = is_slow(w, first);
    for (std::uint64_t i = 0;;) {
      if (state) seconds[i] *= slow;
      if (++i == count) break;
      state = uniform(seed, w, first + i, Stream::Slowness) < (state ? 1 - leave : enter);
    }
  }
}

}  // namespace pyccl::sim
