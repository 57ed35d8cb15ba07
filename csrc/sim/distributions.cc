#include "sim/distributions.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace pyccl::sim {
namespace {

template <std::size_t N> double polynomial(const double (&c)[N], double x) {
  double value = c[N - 1];
  for (std::size_t i = N - 1; i-- > 0;) value = value * x + c[i];
  return value;
}

double gamma_front(double k, double x) { return std::exp(k * std::log(x) - x - std::lgamma(k)); }

/// The share of a gamma distribution of shape k and scale 1 below x, by its series, for x < k + 1.
double gamma_series(double k, double x) {
  double term = 1 / k, sum = term;
  for (double n = k + 1; term > sum * 1e-17; ++n) sum += term *= x / n;
  return gamma_front(k, x) * sum;
}

/// The share above x, by its continued fraction (Lentz), for x >= k + 1.
double gamma_fraction(double k, double x) {
  double b = x + 1 - k, c = std::numeric_limits<double>::max(), d = 1 / b, h = d;
  for (int i = 1; i < 100'000; ++i) {
    const double an = -i * (i - k);
    b += 2;
    d = 1 / (an * d + b);
    c = b + an / c;
    h *= c * d;
    if (std::abs(c * d - 1) <= 1e-15) break;
  }
  return gamma_front(k, x) * h;
}

double gamma_below(double k, double x) { return x < k + 1 ? gamma_series(k, x) : 1 - gamma_fraction(k, x); }
double gamma_above(double k, double x) { return x < k + 1 ? 1 - gamma_series(k, x) : gamma_fraction(k, x); }

/// The logarithm of the quantile of a gamma distribution of scale 1 at the standard normal's quantile z: Newton's steps
/// in the logarithm, held in by bisection, from Wilson and Hilferty's approximation or the first term of the series.
double gamma_log_quantile(double k, double z) {
  const double u = std::erfc(-z / std::numbers::sqrt2) / 2, rest = std::erfc(z / std::numbers::sqrt2) / 2;
  const double third = 1 / (9 * k), root = 1 - third + z * std::sqrt(third), log_k = std::lgamma(k);
  double y = root > 0.1 && k >= 0.5 ? std::log(k) + 3 * std::log(root) : (std::log(u) + log_k + std::log(k)) / k;
  double low = -std::numeric_limits<double>::infinity(), high = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 200; ++i) {
    const double x = std::exp(y);
    const double off = z < 0 ? gamma_below(k, x) - u : rest - gamma_above(k, x);
    (off > 0 ? high : low) = y;
    double next = y - off / std::exp(k * y - x - log_k);
    if (std::isinf(high)) next = std::min(next, y + 1);  // where the density is small its slope promises too much
    if (!(next > low && next < high)) next = std::isinf(high) ? y + 1 : std::isinf(low) ? y - 1 : (low + high) / 2;
    if (std::abs(next - y) <= 1e-13 * std::max(1.0, std::abs(y))) return next;
    y = next;
  }
  return y;
}

constexpr double kEdge = 8.3;  // beyond what 53 bits reach
constexpr int kSteps = 4096;

double from_gamma_table(const std::vector<double>& table, double u) {
  const double place = (normal_quantile(u) + kEdge) * (kSteps / (2 * kEdge));
  const int i = std::clamp(static_cast<int>(place), 0, kSteps - 1);
  const double t = place - i, s = 1 - t;
  const double* at = &table[2 * static_cast<std::size_t>(i)];
  return std::exp(s * s * (at[0] * (1 + 2 * t) + at[1] * t) + t * t * (at[2] * (1 + 2 * s) - at[3] * s));
}

double from_table(const std::vector<double>& table, double u) {
  const double place = u * static_cast<double>(table.size() - 1);
  const auto i = std::min(static_cast<std::size_t>(place), table.size() - 1);
  const std::size_t next = std::min(i + 1, table.size() - 1);
  return table[i] + (place - static_cast<double>(i)) * (table[next] - table[i]);
}

}  // namespace

double normal_quantile(double u) {
  static constexpr double kA[] = {3.3871328727963666080e0,  1.3314166789178437745e+2, 1.9715909503065514427e+3,
                                  1.3731693765509461125e+4, 4.5921953931549871457e+4, 6.7265770927008700853e+4,
                                  3.3430575583588128105e+4, 2.5090809287301226727e+3};
  static constexpr double kB[] = {1.0,
                                  4.2313330701600911252e+1,
                                  6.8718700749205790830e+2,
                                  5.3941960214247511077e+3,
                                  2.1213794301586595867e+4,
                                  3.9307895800092710610e+4,
                                  2.8729085735721942674e+4,
                                  5.2264952788528545610e+3};
  static constexpr double kC[] = {1.42343711074968357734e0,  4.63033784615654529590e0, 5.76949722146069140550e0,
                                  3.64784832476320460504e0,  1.27045825245236838258e0, 2.41780725177450611770e-1,
                                  2.27238449892691845833e-2, 7.74545014278341407640e-4};
  static constexpr double kD[] = {1.0,
                                  2.05319162663775882187e0,
                                  1.67638483018380384940e0,
                                  6.89767334985100004550e-1,
                                  1.48103976427480074590e-1,
                                  1.51986665636164571966e-2,
                                  5.47593808499534494600e-4,
                                  1.05075007164441684324e-9};
  static constexpr double kE[] = {6.65790464350110377720e0,  5.46378491116411436990e0,  1.78482653991729133580e0,
                                  2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
                                  2.71155556874348757815e-5, 2.01033439929228813265e-7};
  static constexpr double kF[] = {1.0,
                                  5.99832206555887937690e-1,
                                  1.36929880922735805310e-1,
                                  1.48753612908506148525e-2,
                                  7.86869131145613259100e-4,
                                  1.84631831751005468180e-5,
                                  1.42151175831644588870e-7,
                                  2.04426310338993978564e-15};
  const double q = u - 0.5;
  if (std::abs(q) <= 0.425) {
    const double r = 0.180625 - q * q;
    return q * polynomial(kA, r) / polynomial(kB, r);
  }
  const double r = std::sqrt(-std::log(q < 0 ? u : 1 - u));
  const double x =
      r <= 5 ? polynomial(kC, r - 1.6) / polynomial(kD, r - 1.6) : polynomial(kE, r - 5) / polynomial(kF, r - 5);
  return q < 0 ? -x : x;
}

std::vector<double> gamma_table(double shape) {
  std::vector<double> table;
  const double step = 2 * kEdge / kSteps;
  for (int i = 0; i <= kSteps; ++i) {
    const double z = -kEdge + i * step, log_x = gamma_log_quantile(shape, z);
    // du = phi(z) dz = pdf(x) dx
    const double log_slope =
        -z * z / 2 - std::log(std::sqrt(2 * std::numbers::pi)) - shape * log_x + std::exp(log_x) + std::lgamma(shape);
    table.push_back(log_x);
    table.push_back(std::exp(log_slope) * step);
  }
  return table;
}

double Distribution::quantile(double u) const {
  switch (kind) {
    case Kind::Constant: return a;
    case Kind::Uniform: return a + (b - a) * u;
    case Kind::Normal: return std::max(0.0, a + b * normal_quantile(c + (1 - c) * u));
    case Kind::Lognormal: return std::exp(a + b * normal_quantile(u));
    case Kind::Exponential: return a - b * std::log1p(-u);
    case Kind::Gamma: return b * from_gamma_table(table, u);
    case Kind::Pareto: return a * std::pow(1 - u, -1 / b);
    case Kind::Weibull: return a * std::pow(-std::log1p(-u), 1 / b);
    case Kind::Empirical: return from_table(table, u);
  }
  return a;
}

}  // namespace pyccl::sim
