#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cmath>
#include <string>

#include "core/random.h"
#include "sim/distributions.h"
#include "sim/draws.h"
#include "sim/random.h"

namespace py = pybind11;
using namespace pybind11::literals;

namespace pyccl::bindings {
namespace {

using Doubles = py::array_t<double, py::array::c_style | py::array::forcecast>;

constexpr std::uint64_t kMostDraws = std::uint64_t{1} << 31;

sim::Distribution make_distribution(int kind, double a, double b, double c, std::vector<double> table) {
  if (kind < 0 || kind >= sim::Distribution::kKinds) throw py::value_error("no such distribution");
  sim::Distribution made{static_cast<sim::Distribution::Kind>(kind), a, b, c, std::move(table)};
  if (made.kind == sim::Distribution::Kind::Gamma) made.table = sim::gamma_table(a);
  if (made.kind == sim::Distribution::Kind::Empirical && made.table.empty()) throw py::value_error("an empty table");
  return made;
}

py::array_t<double> quantile(const sim::Distribution& distribution, const Doubles& u) {
  py::array_t<double> out(u.size());
  double* value = out.mutable_data();
  for (py::ssize_t i = 0; i < u.size(); ++i) {
    if (!(u.data()[i] > 0 && u.data()[i] < 1)) throw py::value_error("a share must lie between 0 and 1");
    value[i] = distribution.quantile(u.data()[i]);
  }
  return out;
}

py::array_t<double> draw(const sim::Distribution& compute, const std::vector<double>& factors, double slow,
                         double enter, double leave, std::uint64_t seed, std::uint32_t workers, std::uint64_t first,
                         std::uint64_t count) {
  if (factors.size() != 1 && factors.size() != workers) throw py::value_error("factors needs 1 entry or one a worker");
  if (workers == 0 || count > kMostDraws / workers) throw py::value_error("too many draws at once, or no workers");
  if (!(enter >= 0 && enter <= 1 && leave >= 0 && leave <= 1)) throw py::value_error("not a probability");
  const sim::Draws draws{compute, factors, slow, enter, leave, seed};
  py::array_t<double> out({static_cast<py::ssize_t>(workers), static_cast<py::ssize_t>(count)});
  double* seconds = out.mutable_data();
  const py::gil_scoped_release nogil;
  draws.fill(workers, first, count, seconds);
  return out;
}

py::array_t<double> uniform(std::uint64_t seed, const py::array_t<std::uint32_t, py::array::forcecast>& who,
                            std::uint64_t iteration, int stream) {
  if (stream < 0 || stream >= sim::kStreams) throw py::value_error("no such stream");
  py::array_t<double> out(who.size());
  double* value = out.mutable_data();
  for (py::ssize_t i = 0; i < who.size(); ++i) {
    value[i] = sim::uniform(seed, who.data()[i], iteration, static_cast<sim::Stream>(stream));
  }
  return out;
}

}  // namespace

void register_draws(py::module_& m) {
  py::class_<sim::Distribution>(m, "SimDistribution")
      .def(py::init(&make_distribution), "kind"_a, "a"_a = 0.0, "b"_a = 0.0, "c"_a = 0.0,
           "table"_a = std::vector<double>{})
      .def("quantile", &quantile, "u"_a);
  m.def("sim_philox", &philox, "counter"_a, "key"_a);
  m.def("sim_uniform", &uniform, "seed"_a, "who"_a, "iteration"_a, "stream"_a);
  m.def("sim_draw", &draw, "compute"_a, "factors"_a, "slow"_a, "enter"_a, "leave"_a, "seed"_a, "workers"_a, "first"_a,
        "count"_a);
}

}  // namespace pyccl::bindings
