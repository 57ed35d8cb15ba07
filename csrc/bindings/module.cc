#include <pybind11/pybind11.h>

namespace pyccl::bindings {
void register_errors(pybind11::module_& m);
void register_kernels(pybind11::module_& m);
void register_updates(pybind11::module_& m);
void register_codecs(pybind11::module_& m);
void register_mpi(pybind11::module_& m);
void register_communicator(pybind11::module_& m);
void register_point_to_point(pybind11::module_& m);
void register_policy(pybind11::module_& m);
void register_sim(pybind11::module_& m);
void register_training(pybind11::module_& m);
void register_draws(pybind11::module_& m);
void register_replay(pybind11::module_& m);
void register_flight(pybind11::module_& m);
void register_server(pybind11::module_& m);
void register_sparse(pybind11::module_& m);
}  // namespace pyccl::bindings

PYBIND11_MODULE(_core, m) {
  m.doc() = "pyccl's C++ core.";
  pyccl::bindings::register_errors(m);
  pyccl::bindings::register_kernels(m);
  pyccl::bindings::register_updates(m);
  pyccl::bindings::register_codecs(m);
  pyccl::bindings::register_mpi(m);
  pyccl::bindings::register_communicator(m);
  pyccl::bindings::register_point_to_point(m);
  pyccl::bindings::register_policy(m);
  pyccl::bindings::register_sim(m);
  pyccl::bindings::register_training(m);
  pyccl::bindings::register_draws(m);
  pyccl::bindings::register_replay(m);
  pyccl::bindings::register_flight(m);
  pyccl::bindings::register_server(m);
  pyccl::bindings::register_sparse(m);
}
