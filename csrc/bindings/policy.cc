#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "policy/rule.h"

namespace py = pybind11;
using namespace pybind11::literals;

namespace pyccl::bindings {
namespace {

const char* name(policy::Fate fate) {
  switch (fate) {
    case policy::Fate::Applied: return "applied";
    case policy::Fate::Held: return "held";
    case policy::Fate::Dropped: return "dropped";
  }
  return "";
}

int checked(const policy::Rule& rule, int worker) {
  if (worker < 0 || worker >= rule.workers()) throw py::index_error("no worker " + std::to_string(worker));
  return worker;
}

policy::Weighting weighting(const std::string& text) {
  if (text == "equal") return policy::Weighting::Equal;
  if (text == "inverse") return policy::Weighting::Inverse;
  if (text == "inverse_root") return policy::Weighting::InverseRoot;
  throw py::value_error("weighting must be equal, inverse or inverse_root, got " + text);
}

}  // namespace

void register_policy(py::module_& m) {
  py::class_<policy::Verdict>(m, "PolicyVerdict")
      .def_property_readonly("fate", [](const policy::Verdict& v) { return name(v.fate); })
      .def_readonly("staleness", &policy::Verdict::staleness)
      .def_readonly("weight", &policy::Verdict::weight);
  py::class_<policy::Rule>(m, "PolicyRule")
      .def_static(
          "quorum",
          [](int workers, int count, bool labelled, bool waits, const std::string& how) {
            return policy::make_quorum(workers, {count, labelled, waits, weighting(how)});
          },
          "workers"_a, "count"_a, "labelled"_a, "waits"_a, "weighting"_a)
      .def_static(
          "free",
          [](int workers, std::optional<std::int64_t> max_staleness, bool waits, const std::string& how) {
            return policy::make_free(workers, max_staleness.value_or(policy::Rule::kUnbounded), waits, weighting(how));
          },
          "workers"_a, "max_staleness"_a, "waits"_a, "weighting"_a)
      .def_static("clocks", &policy::make_clocks, "workers"_a, "staleness"_a)
      .def("request", &policy::Rule::request, "worker"_a)
      .def("begin", &policy::Rule::begin, "worker"_a)
      .def("push", &policy::Rule::push, "worker"_a)
      .def("leave", &policy::Rule::leave, "worker"_a)
      .def(
          "outdated", [](const policy::Rule& rule, int worker) { return rule.outdated(checked(rule, worker)); },
          "worker"_a)
      .def(
          "clock", [](const policy::Rule& rule, int worker) { return rule.clock(checked(rule, worker)); }, "worker"_a)
      .def_property_readonly("version", &policy::Rule::version)
      .def_property_readonly("workers", &policy::Rule::workers)
      .def_property_readonly("released", [](const policy::Rule& rule) {
        return std::vector<int>(rule.released().begin(), rule.released().end());
      });
}

}  // namespace pyccl::bindings
