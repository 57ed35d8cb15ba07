// The methods of pyccl.Communicator as CPython calls them.
#pragma once

#include <pybind11/pybind11.h>

namespace pyccl::bindings {

/// Adds the class Method. `Method(function, kind)` decorates a Python method of a class whose objects have a `_core`.
///
/// A call whose arguments Python cannot bind (a misspelt keyword, one too many) never reaches the function, so the
/// function cannot tell the peers, which would meet this rank's next call instead. Method tells them, by
/// `self._refuse_call(error)`, before it raises.
///
/// Where `kind` is a collective, plain NumPy arrays and named operations go from here to the engine: at 8 bytes a
/// Python frame costs as much as the communication.
void add_method_class(pybind11::module_& m);

}  // namespace pyccl::bindings
