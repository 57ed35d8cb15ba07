// NumPy columns in and out, and Ctrl-C, for what the simulator runs without the GIL.
#pragma once

#include <pybind11/numpy.h>

#include <vector>

namespace pyccl::bindings {

template <class T> using Array = pybind11::array_t<T, pybind11::array::c_style | pybind11::array::forcecast>;

template <class T> std::vector<T> vector_of(const Array<T>& array) {
  return {array.data(), array.data() + array.size()};
}
template <class T> pybind11::array_t<T> array_of(const std::vector<T>& values) {
  return pybind11::array_t<T>(static_cast<pybind11::ssize_t>(values.size()), values.data());
}

/// Called now and then; throws what a signal's handler has raised.
inline void look_up() {
  const pybind11::gil_scoped_acquire gil;
  if (PyErr_CheckSignals() != 0) throw pybind11::error_already_set();
}

}  // namespace pyccl::bindings
