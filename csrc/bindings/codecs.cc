#include "kernels/codecs.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>

#include "bindings/floats.h"
#include "bindings/isa.h"

namespace py = pybind11;
using namespace pybind11::literals;

namespace pyccl::bindings {

namespace {

using kernels::Codec;

constexpr const char* kNames[kernels::kCodecs] = {"float32", "float16", "bfloat16", "int8"};

Codec codec_named(const std::string& name) {
  for (int k = 0; k < kernels::kCodecs; ++k)
    if (name == kNames[k]) return static_cast<Codec>(k);
  throw py::value_error("unknown codec " + name);
}

void check_encoded(const py::array& bytes, Codec codec, std::int64_t count) {
  if (!py::isinstance<py::array_t<std::uint8_t>>(bytes)) throw py::type_error("what is encoded must be uint8");
  if ((bytes.flags() & py::array::c_style) == 0) throw py::value_error("what is encoded must be C-contiguous");
  const std::int64_t wanted = kernels::encoded_bytes(codec, count);
  if (bytes.size() != wanted)
    throw py::value_error("the code is " + std::to_string(wanted) + " bytes, got " + std::to_string(bytes.size()));
}

void encode(const std::string& name, py::array to, const py::array& from, const std::string& isa) {
  const Codec codec = codec_named(name);
  Floats floats;
  const char* values = floats.read(from, "values");
  check_encoded(to, codec, floats.count());
  auto* bytes = static_cast<char*>(to.mutable_data());
  const kernels::Variant& variant = pick(isa);
  py::gil_scoped_release nogil;
  variant.encode(codec, bytes, values, floats.count());
}

void decode(const std::string& name, const py::array& to, const py::array& from, const std::string& isa) {
  const Codec codec = codec_named(name);
  Floats floats;
  char* values = floats.written(to, "values");
  check_encoded(from, codec, floats.count());
  const auto* bytes = static_cast<const char*>(from.data());
  const kernels::Variant& variant = pick(isa);
  py::gil_scoped_release nogil;
  variant.decode(codec, values, bytes, floats.count());
}

}  // namespace

void register_codecs(py::module_& m) {
  m.def(
      "kernels_encoded_bytes",
      [](const std::string& codec, std::int64_t count) { return kernels::encoded_bytes(codec_named(codec), count); },
      "codec"_a, "count"_a);
  m.def("kernels_encode", &encode, "codec"_a, "to"_a, "values"_a, "isa"_a = "");
  m.def("kernels_decode", &decode, "codec"_a, "values"_a, "encoded"_a, "isa"_a = "");
}

}  // namespace pyccl::bindings
