// Entries that CPython calls without argument tuples or keywords: at 8 bytes the call costs more than the operation.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <optional>

#include "bindings/communicator.h"
#include "comm/call.h"

namespace pyccl::bindings {

/// A collective as it was called; borrowed references.
struct FastCall {
  Collective kind;
  PyObject* x = nullptr;
  PyObject* op = nullptr;    // of those that reduce
  PyObject* out = nullptr;   // None for a new array
  PyObject* root = nullptr;  // of a broadcast; nullptr for 0
};

/// Runs a call of plain NumPy arrays and named operations and returns a new reference; NotImplemented, with nothing
/// done, for whatever needs a closer look; nullptr and a Python error.
PyObject* run_fast(PyCommunicator& comm, const FastCall& call);

/// A Python int in [0, limit); nothing for all else.
std::optional<int> small_int(pybind11::handle object, std::int64_t limit);

/// The tp_call of PyPlan.
PyObject* call_plan(PyObject* self, PyObject* args, PyObject* kwargs);
/// Adds a method that CPython calls without going through pybind11; `method` must stay.
void add_method(pybind11::handle type, PyMethodDef& method);

}  // namespace pyccl::bindings
