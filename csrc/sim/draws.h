// What every worker draws for every iteration: how long it computes.
#pragma once

#include <cstdint>
#include <vector>

#include "sim/distributions.h"

namespace pyccl::sim {

struct Draws {
  Distribution compute;         // seconds
  std::vector<double> factors;  // by worker; one entry: the same for all
  double slow = 1;              // how many times longer a worker in its slow state takes
  double enter = 0, leave = 1;  // probability that it becomes slow, and fast again, from one iteration to the next
  std::uint64_t seed = 0;

  /// A Markov chain's state, found without the states before. Two chains that start fast and slow and meet the same
  /// numbers are one as soon as a number sends both to the same state; so only the last such number and those after it
  /// matter (Propp and Wilson 1996, doi:10.1002/(SICI)1098-2418(199608/09)9:1/2<223::AID-RSA14>3.0.CO;2-O). All are
  /// fast before their first iteration.
  bool is_slow(std::uint32_t worker, std::uint64_t iteration) const;

  double seconds(std::uint32_t worker, std::uint64_t iteration) const;

  /// Fills seconds[worker][i] for iterations first + i, i < count.
  void fill(std::uint32_t workers, std::uint64_t first, std::uint64_t count, double* seconds) const;
};

}  // namespace pyccl::sim
