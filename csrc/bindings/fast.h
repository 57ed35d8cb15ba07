// Entries that CPython calls without argument tuples or keywords: at 8 bytes the call costs more than the operation.
#pragma once

#include <pybind11/pybind11.h>

namespace pyccl::bindings {

/// Adds `fast` and `barrier` to the class of PyCommunicator. `fast(kind, x, op, out, root)` serves plain NumPy arrays
/// and named operations; it returns NotImplemented, having done nothing, for whatever needs a closer look.
void add_fast_methods(pybind11::handle type);

/// The tp_call of PyPlan.
PyObject* call_plan(PyObject* self, PyObject* args, PyObject* kwargs);
/// Adds a method that CPython calls without going through pybind11; `method` must stay.
void add_method(pybind11::handle type, PyMethodDef& method);

}  // namespace pyccl::bindings
