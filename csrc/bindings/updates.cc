#include "kernels/updates.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "bindings/floats.h"
#include "bindings/isa.h"

namespace py = pybind11;
using namespace pybind11::literals;

namespace pyccl::bindings {

namespace {

using kernels::Method;
using kernels::Optimizer;

/// The methods by name, in the order of the enum.
constexpr const char* kNames[kernels::kMethods] = {"sgd",  "momentum", "nesterov", "adagrad", "rmsprop",
                                                   "adam", "adamw",    "lamb",     "ftrl",    "lion"};

Method method_named(const std::string& name) {
  for (int k = 0; k < kernels::kMethods; ++k)
    if (name == kNames[k]) return static_cast<Method>(k);
  throw py::value_error("unknown method " + name);
}

void update(const Optimizer& how, const py::array& parameters, const std::vector<py::array>& state,
            const py::array& gradient, std::int64_t step, float scale, const std::string& isa) {
  if (step < 1) throw py::value_error("step must be at least 1, got " + std::to_string(step));
  const auto slots = static_cast<std::size_t>(kernels::slots(how.method));
  if (state.size() != slots)
    throw py::value_error("state must be " + std::to_string(slots) + " arrays, got " + std::to_string(state.size()));
  Floats floats;
  char* to = floats.written(parameters, "parameters");
  std::vector<char*> slot;
  for (const py::array& array : state) slot.push_back(floats.written(array, "state"));
  const char* from = floats.read(gradient, "gradient");
  const kernels::Variant& variant = pick(isa);
  py::gil_scoped_release nogil;
  variant.update(how, {to, slot.data(), from, floats.count(), scale, step});
}

bool all_finite(const py::array& values, const std::string& isa) {
  Floats floats;
  const char* from = floats.read(values, "values");
  const kernels::Variant& variant = pick(isa);
  py::gil_scoped_release nogil;
  return variant.all_finite(from, floats.count());
}

void compensate(const py::array& out, const py::array& gradient, const py::array& parameters, const py::array& backup,
                float lambda, const py::object& mean_square, double decay, float epsilon, const std::string& isa) {
  Floats floats;
  kernels::Compensation job{};
  job.gradient = out.is(gradient) ? nullptr : floats.read(gradient, "gradient");
  job.parameters = floats.read(parameters, "parameters");
  job.backup = floats.read(backup, "backup");
  job.out = floats.written(out, "out");
  if (job.gradient == nullptr) job.gradient = job.out;
  if (!mean_square.is_none()) job.mean_square = floats.written(py::cast<py::array>(mean_square), "mean_square");
  job.count = floats.count(), job.lambda = lambda, job.decay = decay, job.epsilon = epsilon;
  pick(isa).compensate(job);
}

}  // namespace

void register_updates(py::module_& m) {
  py::class_<Optimizer>(m, "Optimizer")
      .def(py::init([](const std::string& method, double rate, double first, double second, double epsilon,
                       double decay, double l1, double l2) {
             return Optimizer{method_named(method), rate, first, second, epsilon, decay, l1, l2};
           }),
           "method"_a, "rate"_a, "first"_a = 0.0, "second"_a = 0.0, "epsilon"_a = 0.0, "decay"_a = 0.0, "l1"_a = 0.0,
           "l2"_a = 0.0)
      .def_property_readonly("method", [](const Optimizer& how) { return kNames[static_cast<int>(how.method)]; })
      .def_property_readonly("slots", [](const Optimizer& how) { return kernels::slots(how.method); })
      .def_property_readonly("whole", [](const Optimizer& how) { return kernels::whole(how.method); })
      .def("update", &update, "parameters"_a, "state"_a, "gradient"_a, "step"_a, "scale"_a = 1.0F, "isa"_a = "")
      .def("__eq__", [](const Optimizer& a, const Optimizer& b) { return a == b; }, py::is_operator());
  m.def("all_finite", &all_finite, "values"_a, "isa"_a = "");
  m.def("kernels_compensate", &compensate, "out"_a, "gradient"_a, "parameters"_a, "backup"_a, "scale"_a,
        "mean_square"_a = py::none(), "decay"_a = 0.0, "epsilon"_a = 0.0F, "isa"_a = "");
}

}  // namespace pyccl::bindings
