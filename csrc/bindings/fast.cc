#include "bindings/fast.h"

#include <array>
#include <optional>

#include "bindings/arrays.h"
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

py::object unusual() { return py::reinterpret_borrow<py::object>(Py_NotImplemented); }

/// The call and what it returns; nothing where the slow path has to look, or to fail and tell the peers.
std::optional<py::object> resolve(PyCommunicator& comm, const FastCall& fast, Call& call) {
  call.kind = fast.kind;
  if (fast.kind == Collective::Barrier) return py::none();
  const auto in = plain(fast.x);
  if (!in) return std::nullopt;
  call.dtype = in->dtype;
  call.input = in->data;
  call.count = in->elements;
  py::object result;
  if (call.kind == Collective::Broadcast) {
    const auto root = fast.root == nullptr ? 0 : small_int(fast.root, comm.core().size());
    if (!root || !in->writable) return std::nullopt;
    call.root = *root;
    call.output = in->data;
    result = py::reinterpret_borrow<py::object>(fast.x);
  } else {
    if (reduces(call.kind)) {
      const auto op = named_op(fast.op);
      if (!op || !kernels::supports(*op, in->dtype)) return std::nullopt;
      call.op = *op;
    }
    if (!set_output(call, *in, fast.x, fast.out, comm.core(), result)) return std::nullopt;
  }
  return result;
}

py::object run(PyCommunicator& comm, const FastCall& fast) {
  if (!comm.shortcuts()) return unusual();
  std::optional<py::object> result;
  std::shared_ptr<const Prepared> prepared;
  try {
    Call call;
    result = resolve(comm, fast, call);
    if (result) prepared = comm.resolve_cached(call);
  } catch (const std::exception&) {  // no memory for the result, say
    return unusual();
  }
  if (!prepared) return unusual();
  comm.execute(*prepared);
  return std::move(*result);
}

}  // namespace

std::optional<int> small_int(py::handle object, std::int64_t limit) {
  if (!PyLong_CheckExact(object.ptr())) return std::nullopt;
  int overflow = 0;
  const std::int64_t value = PyLong_AsLongLongAndOverflow(object.ptr(), &overflow);
  if (overflow != 0 || value < 0 || value >= limit) return std::nullopt;
  return static_cast<int>(value);
}

PyObject* run_fast(PyCommunicator& comm, const FastCall& call) {
  try {
    return run(comm, call).release().ptr();
  } catch (...) {
    py::detail::try_translate_exceptions();
    return nullptr;
  }
}

void add_method(py::handle type, PyMethodDef& method) {
  PyObject* descriptor = PyDescr_NewMethod(reinterpret_cast<PyTypeObject*>(type.ptr()), &method);
  if (descriptor == nullptr || PyObject_SetAttrString(type.ptr(), method.ml_name, descriptor) != 0) {
    throw py::error_already_set();
  }
  Py_DECREF(descriptor);
}

PyObject* call_plan(PyObject* self, PyObject* args, PyObject* kwargs) {
  try {
    // Only a Plan has this tp_call, so the look-up by type that pybind11 would do is saved.
    auto* plan =
        static_cast<PyPlan*>(reinterpret_cast<py::detail::instance*>(self)->get_value_and_holder().value_ptr());
    if (plan == nullptr) throw py::type_error("a plan comes from Communicator.plan");
    if (PyTuple_GET_SIZE(args) != 0 || kwargs != nullptr) {
      plan->refuse("TypeError: a plan takes no arguments");
      throw py::type_error("a plan takes no arguments");
    }
    return py::object(plan->run()).release().ptr();
  } catch (...) {
    py::detail::try_translate_exceptions();
    return nullptr;
  }
}

}  // namespace pyccl::bindings
