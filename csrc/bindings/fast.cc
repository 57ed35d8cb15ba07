#include "bindings/fast.h"

#include <array>
#include <optional>

#include "bindings/arrays.h"
#include "bindings/communicator.h"
#include "core/buffer.h"

namespace py = pybind11;

namespace pyccl::bindings {
namespace {

/// Interned, so that they compare by address.
struct OpName {
  PyObject* text;
  OpKind op;
};

std::optional<OpKind> named_op(PyObject* text) {
  static const std::array<OpName, 8> names{{{PyUnicode_InternFromString("sum"), OpKind::Sum},
                                            {PyUnicode_InternFromString("avg"), OpKind::Avg},
                                            {PyUnicode_InternFromString("prod"), OpKind::Prod},
                                            {PyUnicode_InternFromString("min"), OpKind::Min},
                                            {PyUnicode_InternFromString("max"), OpKind::Max},
                                            {PyUnicode_InternFromString("band"), OpKind::Band},
                                            {PyUnicode_InternFromString("bor"), OpKind::Bor},
                                            {PyUnicode_InternFromString("bxor"), OpKind::Bxor}}};
  for (const OpName& name : names) {
    if (name.text == text) return name.op;
  }
  if (!PyUnicode_CheckExact(text)) return std::nullopt;
  for (const OpName& name : names) {  // a string put together at run time
    if (PyUnicode_Compare(name.text, text) == 0) return name.op;
  }
  return std::nullopt;
}

std::int64_t own_share(std::int64_t count, const Communicator& core) {
  const Range range = chunk_range(count, core.size(), core.rank());
  return range.end - range.begin;
}

bool overlap(const View& a, const View& b) {
  const auto item = static_cast<std::int64_t>(item_size(a.dtype));
  return a.data < b.data + b.elements * item && b.data < a.data + a.elements * item;
}

/// Fills in what is written; false when the slow path has to look.
bool set_output(Call& call, const View& in, PyObject* x, PyObject* out, const Communicator& core, py::object& result) {
  const bool same_size = call.kind == Collective::AllReduce;
  if (out == Py_None) {
    if (!same_size) return false;
    const auto array = py::reinterpret_borrow<py::array>(x);
    py::array fresh(array.dtype(), std::vector<py::ssize_t>(array.shape(), array.shape() + array.ndim()));
    call.output = fresh.mutable_data();
    result = std::move(fresh);
    return true;
  }
  const auto target = plain(out);
  if (!target || !target->writable || target->dtype != in.dtype) return false;
  if (target->data != in.data ? overlap(in, *target) : !same_size) return false;
  switch (call.kind) {
    case Collective::AllReduce:
      if (target->elements != in.elements) return false;
      break;
    case Collective::ReduceScatter:
      if (target->elements != own_share(in.elements, core)) return false;
      break;
    case Collective::AllGather:
      if (in.elements != own_share(target->elements, core)) return false;
      call.count = target->elements;
      break;
    default: return false;
  }
  call.output = target->data;
  result = py::reinterpret_borrow<py::object>(out);
  return true;
}

py::object run(PyCommunicator& comm, PyObject* const* args) {
  const auto unusual = [] { return py::reinterpret_borrow<py::object>(Py_NotImplemented); };
  const auto in = plain(args[1]);
  if (!in || !comm.shortcuts()) return unusual();
  Call call;
  call.kind = static_cast<Collective>(PyLong_AsLong(args[0]));
  call.dtype = in->dtype;
  call.input = in->data;
  call.count = in->elements;
  py::object result;
  if (call.kind == Collective::Broadcast) {
    const long root = PyLong_AsLong(args[4]);
    if (PyErr_Occurred()) {
      PyErr_Clear();  // the slow path says what is wrong, and tells the peers
      return unusual();
    }
    if (!in->writable || root < 0 || root >= comm.core().size()) return unusual();
    call.root = static_cast<int>(root);
    call.output = in->data;
    result = py::reinterpret_borrow<py::object>(args[1]);
  } else {
    if (reduces(call.kind)) {
      const auto op = named_op(args[2]);
      if (!op || !kernels::supports(*op, in->dtype)) return unusual();
      call.op = *op;
    }
    if (!set_output(call, *in, args[1], args[3], comm.core(), result)) return unusual();
  }
  comm.execute(*comm.resolve_cached(call));
  return result;
}

PyObject* call_fast(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  try {
    if (count != 5) throw py::type_error("fast takes kind, x, op, out and root");
    return run(*py::cast<PyCommunicator*>(py::handle(self)), args).release().ptr();
  } catch (...) {
    py::detail::try_translate_exceptions();
    return nullptr;
  }
}

PyObject* call_barrier(PyObject* self, PyObject*) {
  try {
    auto& comm = *py::cast<PyCommunicator*>(py::handle(self));
    if (!comm.shortcuts()) Py_RETURN_NOTIMPLEMENTED;
    comm.execute(*comm.resolve_cached(Call{}));
    Py_RETURN_NONE;
  } catch (...) {
    py::detail::try_translate_exceptions();
    return nullptr;
  }
}

}  // namespace

void add_method(py::handle type, PyMethodDef& method) {
  PyObject* descriptor = PyDescr_NewMethod(reinterpret_cast<PyTypeObject*>(type.ptr()), &method);
  if (descriptor == nullptr || PyObject_SetAttrString(type.ptr(), method.ml_name, descriptor) != 0) {
    throw py::error_already_set();
  }
  Py_DECREF(descriptor);
}

PyObject* call_plan(PyObject* self, PyObject* args, PyObject* kwargs) {
  try {
    if (PyTuple_GET_SIZE(args) != 0 || kwargs != nullptr) throw py::type_error("a plan takes no arguments");
    return py::object(py::cast<PyPlan*>(py::handle(self))->run()).release().ptr();
  } catch (...) {
    py::detail::try_translate_exceptions();
    return nullptr;
  }
}

void add_fast_methods(py::handle type) {
  static PyMethodDef fast{"fast", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&call_fast)),
                          METH_FASTCALL, "fast(self, kind, x, op, out, root)"};
  static PyMethodDef barrier{"barrier", &call_barrier, METH_NOARGS, "barrier(self)"};
  add_method(type, fast);
  add_method(type, barrier);
}

}  // namespace pyccl::bindings
