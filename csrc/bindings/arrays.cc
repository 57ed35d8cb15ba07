#include "bindings/arrays.h"

namespace py = pybind11;

namespace pyccl::bindings {
namespace {

int bfloat16_number = -1;

std::optional<DataType> data_type(int number) {
  switch (number) {  // NPY_TYPES; long is 64 bits wide on the platforms that pyccl builds on
    case 0: return DataType::Bool;
    case 1: return DataType::I8;
    case 2: return DataType::U8;
    case 3: return DataType::I16;
    case 4: return DataType::U16;
    case 5: return DataType::I32;
    case 6: return DataType::U32;
    case 7:
    case 9: return DataType::I64;
    case 8:
    case 10: return DataType::U64;
    case 11: return DataType::F32;
    case 12: return DataType::F64;
    case 14: return DataType::C64;
    case 15: return DataType::C128;
    case 23: return DataType::F16;
    default: break;
  }
  if (number == bfloat16_number) return DataType::BF16;
  return std::nullopt;
}

}  // namespace

void set_bfloat16(int type_number) { bfloat16_number = type_number; }

std::optional<View> view(py::handle object) {
  if (!py::isinstance<py::array>(object)) return std::nullopt;
  const auto array = py::reinterpret_borrow<py::array>(object);
  constexpr int kNeeded = py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  if ((array.flags() & kNeeded) != kNeeded) return std::nullopt;
  const auto* raw = py::detail::array_proxy(array.ptr());
  const auto* descr = py::detail::array_descriptor_proxy(raw->descr);
  if (descr->byteorder == '>') return std::nullopt;
  const auto dtype = data_type(descr->type_num);
  if (!dtype) return std::nullopt;
  std::int64_t elements = 1;
  for (int i = 0; i < raw->nd; ++i) elements *= raw->dimensions[i];
  return View{raw->data, elements, *dtype, (array.flags() & py::detail::npy_api::NPY_ARRAY_WRITEABLE_) != 0};
}

std::optional<View> plain(PyObject* object) {
  const auto* array_type = py::detail::npy_api::get().PyArray_Type_;
  return Py_TYPE(object) == array_type ? view(object) : std::nullopt;
}

}  // namespace pyccl::bindings
