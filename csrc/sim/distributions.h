// Distributions by their quantiles: the same uniform number gives a slow worker a slow draw under every distribution.
#pragma once

#include <cstdint>
#include <vector>

namespace pyccl::sim {

struct Distribution {
  enum class Kind : std::uint8_t {
    Constant,     // a
    Uniform,      // from a to b
    Normal,       // mean a, standard deviation b; what lies below 0 is cut off: c is its probability
    Lognormal,    // of logarithm's mean a, standard deviation b
    Exponential,  // a, and b on average beyond it
    Gamma,        // shape a, scale b, and `table` from gamma_table
    Pareto,       // least value a, shape b
    Weibull,      // scale a, shape b
    Empirical,    // `table`, ascending, with straight lines between
  };

  static constexpr int kKinds = 9;

  Kind kind = Kind::Constant;
  double a = 0, b = 0, c = 0;
  std::vector<double> table;

  /// The value below which a share u of all lie, 0 < u < 1.
  double quantile(double u) const;
};

/// The logarithm of a gamma distribution's quantiles, and its slope, at equal steps of the standard normal's quantile:
/// what lies between is a cubic, exact to 1e-11. A search for one quantile takes a microsecond.
std::vector<double> gamma_table(double shape);

/// Of the standard normal distribution (Wichura 1988, algorithm AS 241, doi:10.2307/2347330).
double normal_quantile(double u);

}  // namespace pyccl::sim
