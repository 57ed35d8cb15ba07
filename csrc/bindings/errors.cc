#include <pybind11/pybind11.h>

#include "bindings/communicator.h"
#include "comm/verdict.h"
#include "core/error.h"

namespace py = pybind11;

namespace pyccl::bindings {
namespace {

void raise(const char* name, const py::tuple& arguments) {
  const py::object type = py::module_::import("pyccl.errors").attr(name);
  PyErr_SetObject(type.ptr(), type(*arguments).ptr());
}

void translate(std::exception_ptr p) {
  try {
    if (p) std::rethrow_exception(p);
  } catch (const PyInterrupted& e) {
    e.error->restore();
  } catch (const Timeout& e) {
    py::tuple missing(e.missing.size());
    for (std::size_t i = 0; i < e.missing.size(); ++i) missing[i] = e.missing[i];
    raise("Timeout", py::make_tuple(e.what(), missing));
  } catch (const PeerLost& e) {
    raise("PeerLost", py::make_tuple(e.rank, e.what()));
  } catch (const PeerAborted& e) {
    raise("PeerAborted", py::make_tuple(e.rank, e.reason, e.what(), e.broken));
  } catch (const MismatchError& e) {
    raise("MismatchError", py::make_tuple(e.what()));
  } catch (const CommError& e) {
    raise("CommError", py::make_tuple(e.what()));
  } catch (const Refused& e) {
    raise("Error", py::make_tuple(e.what()));
  } catch (const Error& e) {
    raise("Error", py::make_tuple(e.what()));
  }
}

}  // namespace

void register_errors(py::module_&) { py::register_exception_translator(&translate); }

}  // namespace pyccl::bindings
