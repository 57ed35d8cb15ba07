#include <pybind11/pybind11.h>

#include "bindings/communicator.h"
#include "comm/verdict.h"
#include "core/error.h"

namespace py = pybind11;

namespace pyccl::bindings {
namespace {

/// Texts come from other processes, too: what is not UTF-8 must not hide the error.
py::str text(const std::string& bytes) {
  PyObject* decoded = PyUnicode_DecodeUTF8(bytes.data(), static_cast<Py_ssize_t>(bytes.size()), "replace");
  if (decoded == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::str>(decoded);
}

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
    raise("Timeout", py::make_tuple(text(e.what()), missing));
  } catch (const PeerLost& e) {
    raise("PeerLost", py::make_tuple(e.rank, text(e.what())));
  } catch (const PeerAborted& e) {
    raise("PeerAborted", py::make_tuple(e.rank, text(e.reason), text(e.what()), e.broken));
  } catch (const ServerLost& e) {
    raise("ServerLost", py::make_tuple(text(e.what())));
  } catch (const MismatchError& e) {
    raise("MismatchError", py::make_tuple(text(e.what())));
  } catch (const CommError& e) {
    raise("CommError", py::make_tuple(text(e.what())));
  } catch (const Refused& e) {
    raise("Error", py::make_tuple(text(e.what())));
  } catch (const Error& e) {
    raise("Error", py::make_tuple(text(e.what())));
  }
}

}  // namespace

void register_errors(py::module_&) { py::register_exception_translator(&translate); }

}  // namespace pyccl::bindings
