#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>

#include "mpi/mpi_remote.h"

namespace py = pybind11;
using namespace pybind11::literals;

namespace pyccl::bindings {
namespace {

std::shared_ptr<MpiRemote> make_remote(const std::string& library, std::size_t handle_bytes,
                                       std::uintptr_t communicator, std::uintptr_t byte, std::uintptr_t null_request,
                                       int size, std::int64_t max_message) {
  const auto at = [](std::uintptr_t address) { return reinterpret_cast<const void*>(address); };
  return make_mpi_remote({library, handle_bytes, at(communicator), at(byte), at(null_request), size, max_message});
}

// The addresses are the caller's promise: the memory outlives the request.
Remote::Request send(Remote& remote, std::uintptr_t address, std::int64_t nbytes, int peer, int tag) {
  return remote.send(reinterpret_cast<const void*>(address), nbytes, peer, tag);
}

Remote::Request recv(Remote& remote, std::uintptr_t address, std::int64_t nbytes, int peer, int tag,
                     std::uintptr_t received) {
  return remote.recv(reinterpret_cast<void*>(address), nbytes, peer, tag, reinterpret_cast<std::int64_t*>(received));
}

}  // namespace

void register_mpi(py::module_& m) {
  using Free = py::call_guard<py::gil_scoped_release>;
  py::class_<Remote, std::shared_ptr<Remote>>(m, "Remote")
      .def("send", &send, "address"_a, "nbytes"_a, "peer"_a, "tag"_a, Free())
      .def("recv", &recv, "address"_a, "nbytes"_a, "peer"_a, "tag"_a, "received"_a = 0, Free())
      .def("test", &Remote::test, "request"_a, Free())
      .def("cancel", &Remote::cancel, "request"_a, Free())
      .def_property_readonly("name", &Remote::name);
  py::class_<MpiRemote, Remote, std::shared_ptr<MpiRemote>>(m, "MpiRemote")
      .def(py::init(&make_remote), "library"_a, "handle_bytes"_a, "communicator"_a, "byte"_a, "null_request"_a,
           "size"_a, "max_message"_a = MpiHandles{}.max_message)
      .def_property_readonly("pending", &MpiRemote::pending);
  m.def("mpi_library_version", &mpi_library_version, "library"_a);
  m.def(
      "prepare_mpi_end",
      [](const std::string& library) {
        prepare_mpi_end(library);
        static const bool once = Py_AtExit(&end_mpi) == 0;  // after all Python has run, before mpi4py's own
        if (!once) throw std::runtime_error("no room for a function at the interpreter's end");
      },
      "library"_a);
  m.def("forgo_mpi_end", &forgo_mpi_end);
}

}  // namespace pyccl::bindings
