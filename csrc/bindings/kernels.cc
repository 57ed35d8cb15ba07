// The kernels on NumPy arrays, for tests: shapes are checked, aliasing is the caller's business.
#include "kernels/kernels.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "bindings/isa.h"

namespace py = pybind11;
using namespace pybind11::literals;

namespace pyccl::bindings {

namespace {

using Arrays = std::vector<py::array>;

std::int64_t checked_count(const py::array& array, std::size_t item, std::int64_t count) {
  if (!(array.flags() & py::array::c_style)) throw py::value_error("arrays must be contiguous");
  if (static_cast<std::size_t>(array.itemsize()) != item) throw py::value_error("an array has another item size");
  if (count >= 0 && array.size() != count) throw py::value_error("arrays must have equal sizes");
  return array.size();
}

DataType dtype_of(int code) {
  if (code < 0 || code >= kDataTypes) throw py::value_error("unknown dtype code");
  return static_cast<DataType>(code);
}

OpKind op_of(int code) {
  if (code < 0 || code > static_cast<int>(OpKind::User)) throw py::value_error("unknown op code");
  return static_cast<OpKind>(code);
}

int reduce(const Arrays& sources, Arrays dests, int op, int dtype, std::int64_t divisor, bool stream,
           std::uintptr_t user, const std::string& isa) {
  const kernels::Reduction how{dtype_of(dtype), op_of(op), reinterpret_cast<kernels::UserFunction>(user)};
  std::int64_t count = -1;
  std::vector<const void*> from;
  std::vector<void*> to;
  for (const py::array& array : sources) {
    count = checked_count(array, item_size(how.dtype), count);
    from.push_back(array.data());
  }
  for (py::array& array : dests) {
    count = checked_count(array, item_size(how.dtype), count);
    to.push_back(array.mutable_data());
  }
  const kernels::Variant& variant = pick(isa);
  py::gil_scoped_release nogil;
  return kernels::reduce(variant, how, from.data(), static_cast<int>(from.size()), to.data(),
                         static_cast<int>(to.size()), count, divisor, stream);
}

void copy(py::array dst, const py::array& src, bool stream, const std::string& isa) {
  checked_count(dst, static_cast<std::size_t>(src.itemsize()), checked_count(src, src.itemsize(), -1));
  const kernels::Variant& variant = pick(isa);
  void* to = dst.mutable_data();
  const void* from = src.data();
  const auto bytes = static_cast<std::int64_t>(src.nbytes());
  py::gil_scoped_release nogil;
  kernels::copy(variant, to, from, bytes, stream);
}

void scale(py::array dst, const py::array& src, int dtype, double factor, const std::string& isa) {
  const DataType type = dtype_of(dtype);
  const std::int64_t count = checked_count(dst, item_size(type), checked_count(src, item_size(type), -1));
  const kernels::Variant& variant = pick(isa);
  void* to = dst.mutable_data();
  const void* from = src.data();
  py::gil_scoped_release nogil;
  kernels::scale(variant, type, to, from, count, factor);
}

std::vector<std::string> isas() {
  std::vector<std::string> names;
  for (const kernels::Variant* variant : kernels::variants())
    if (variant->available()) names.emplace_back(variant->name);
  return names;
}

py::dict codes() {
  py::dict ops, dtypes;
  const auto op = [&](const char* name, OpKind kind) { ops[name] = static_cast<int>(kind); };
  op("sum", OpKind::Sum), op("avg", OpKind::Avg), op("prod", OpKind::Prod), op("min", OpKind::Min);
  op("max", OpKind::Max), op("band", OpKind::Band), op("bor", OpKind::Bor), op("bxor", OpKind::Bxor);
  op("premul_sum", OpKind::PremulSum), op("user", OpKind::User);
  const auto dtype = [&](const char* name, DataType type) { dtypes[name] = static_cast<int>(type); };
  dtype("bool", DataType::Bool), dtype("uint8", DataType::U8), dtype("int8", DataType::I8);
  dtype("uint16", DataType::U16), dtype("int16", DataType::I16), dtype("uint32", DataType::U32);
  dtype("int32", DataType::I32), dtype("uint64", DataType::U64), dtype("int64", DataType::I64);
  dtype("float16", DataType::F16), dtype("bfloat16", DataType::BF16), dtype("float32", DataType::F32);
  dtype("float64", DataType::F64), dtype("complex64", DataType::C64), dtype("complex128", DataType::C128);
  return py::dict("ops"_a = ops, "dtypes"_a = dtypes);
}

}  // namespace

void register_kernels(py::module_& m) {
  m.def("kernels_reduce", &reduce, "sources"_a, "dests"_a, "op"_a, "dtype"_a, "divisor"_a = 1, "stream"_a = false,
        "user"_a = 0, "isa"_a = "", "dests[j] = sources[0] op sources[1] ...; non-zero when the user's op failed.");
  m.def("kernels_copy", &copy, "dst"_a, "src"_a, "stream"_a = false, "isa"_a = "");
  m.def("kernels_scale", &scale, "dst"_a, "src"_a, "dtype"_a, "factor"_a, "isa"_a = "");
  m.def(
      "kernels_supports", [](int op, int dtype) { return kernels::supports(op_of(op), dtype_of(dtype)); }, "op"_a,
      "dtype"_a);
  m.def("kernels_isa", &kernels::isa, "The instruction set in use; PYCCL_ISA may lower it.");
  m.def("kernels_isas", &isas, "The instruction sets that this CPU and this build have, best first.");
  m.def("kernels_codes", &codes, "The codes of ops and dtypes as the C++ enums have them.");
}

}  // namespace pyccl::bindings
