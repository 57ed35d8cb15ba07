// float32 arrays as the kernels take them.
#pragma once

#include <pybind11/numpy.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace pyccl::bindings {

/// Checks arrays of one call: contiguous float32 of any alignment, as many values in each, none where another is
/// written.
class Floats {
 public:
  char* read(const pybind11::array& array, const char* name) { return take(array, name, false); }
  char* written(const pybind11::array& array, const char* name) { return take(array, name, true); }
  std::int64_t count() const { return count_ < 0 ? 0 : count_; }

 private:
  struct Range {
    char* begin;
    char* end;
    bool is_written;
    const char* name;
  };

  char* take(const pybind11::array& array, const char* name, bool is_written) {
    namespace py = pybind11;
    const auto refuse = [&](const std::string& what) { throw py::value_error(name + (" " + what)); };
    if (!py::isinstance<py::array_t<float>>(array))
      throw py::type_error(std::string(name) + " must be float32, got " + std::string(py::str(array.dtype())));
    if ((array.flags() & py::array::c_style) == 0) refuse("must be C-contiguous");
    if (is_written && !array.writeable()) refuse("is read-only");
    if (count_ >= 0 && array.size() != count_)
      refuse("must have " + std::to_string(count_) + " values, got " + std::to_string(array.size()));
    count_ = array.size();
    const Range range{static_cast<char*>(const_cast<void*>(array.data())), nullptr, is_written, name};
    return add(range);
  }

  char* add(Range range) {
    range.end = range.begin + count_ * static_cast<std::int64_t>(sizeof(float));
    for (const Range& other : ranges_) {
      const bool apart = !std::less<>{}(range.begin, other.end) || !std::less<>{}(other.begin, range.end);
      if (!apart && (range.is_written || other.is_written))
        throw pybind11::value_error(std::string(range.name) + " must not overlap " + other.name);
    }
    ranges_.push_back(range);
    return range.begin;
  }

  std::int64_t count_ = -1;
  std::vector<Range> ranges_;
};

}  // namespace pyccl::bindings
