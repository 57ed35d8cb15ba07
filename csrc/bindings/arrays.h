// What the bindings may assume of a NumPy array. pyccl/arrays.py turns everything else into such an array, or refuses.
#pragma once

#include <pybind11/numpy.h>

#include <cstdint>
#include <optional>

#include "core/types.h"

namespace pyccl::bindings {

struct View {
  char* data;
  std::int64_t elements;
  DataType dtype;
  bool writable;
};

/// The memory of a C-contiguous, aligned NumPy array of native byte order with a dtype that pyccl reduces;
/// nothing for any other object.
std::optional<View> view(pybind11::handle object);

/// The same for what is an ndarray itself: a subclass may mean something else.
std::optional<View> plain(PyObject* object);

/// NumPy's number of the bfloat16 dtype, which ml_dtypes assigns when it is imported.
void set_bfloat16(int type_number);

}  // namespace pyccl::bindings
