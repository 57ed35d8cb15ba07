#include "bindings/method.h"

#include <structmember.h>

#include <cstddef>

#include "bindings/communicator.h"
#include "bindings/fast.h"

namespace py = pybind11;

namespace pyccl::bindings {
namespace {

struct Method {
  PyObject_HEAD vectorcallfunc call;
  PyObject* function;
  int kind;  // a Collective, or -1
};

/// Compared by address: CPython interns the names of keywords.
struct Names {
  PyObject* core = PyUnicode_InternFromString("_core");
  PyObject* refuse_call = PyUnicode_InternFromString("_refuse_call");
  PyObject* op = PyUnicode_InternFromString("op");
  PyObject* out = PyUnicode_InternFromString("out");
  PyObject* root = PyUnicode_InternFromString("root");
  PyObject* sum = PyUnicode_InternFromString("sum");
};

const Names& names() {
  static const Names all;
  return all;
}

/// Sorts out x, op, out and root; false for any other shape of call.
bool bind(FastCall& call, PyObject* const* args, Py_ssize_t count, PyObject* keywords) {
  const bool reducing = reduces(call.kind);
  if (call.kind == Collective::Barrier) return count == 0 && keywords == nullptr;
  if (count < 1 || count > (reducing ? 2 : 1)) return false;
  call.x = args[0];
  call.op = count == 2 ? args[1] : names().sum;
  call.out = Py_None;
  const Py_ssize_t named = keywords == nullptr ? 0 : PyTuple_GET_SIZE(keywords);
  for (Py_ssize_t i = 0; i < named; ++i) {
    PyObject* const name = PyTuple_GET_ITEM(keywords, i);
    PyObject* const value = args[count + i];
    if (name == names().out && call.kind != Collective::Broadcast) {
      call.out = value;
    } else if (name == names().op && reducing && count == 1) {
      call.op = value;
    } else if (name == names().root && call.kind == Collective::Broadcast) {
      call.root = value;
    } else {
      return false;
    }
  }
  return true;
}

PyCommunicator* core_of(PyObject* self) {
  static PyTypeObject* const type = reinterpret_cast<PyTypeObject*>(py::type::of<PyCommunicator>().release().ptr());
  PyObject* core = PyObject_GetAttr(self, names().core);
  if (core == nullptr) {
    PyErr_Clear();
    return nullptr;
  }
  const bool fits = Py_TYPE(core) == type;
  Py_DECREF(core);  // self keeps it
  if (!fits) return nullptr;
  return static_cast<PyCommunicator*>(
      reinterpret_cast<py::detail::instance*>(core)->get_value_and_holder().value_ptr());
}

/// Tells the peers of a TypeError that arose before the function's first line; leaves the error as it is.
void announce_binding_error(PyObject* self) {
  PyObject *type, *error, *trace;
  PyErr_Fetch(&type, &error, &trace);
  if (trace == nullptr) {  // no frame has seen it
    PyErr_NormalizeException(&type, &error, &trace);
    PyObject* arguments[] = {self, error};
    PyObject* done = PyObject_VectorcallMethod(names().refuse_call, arguments, 2, nullptr);
    if (done == nullptr) {  // Ctrl-C while the peers were on their way
      Py_XDECREF(type);
      Py_XDECREF(error);
      return;
    }
    Py_DECREF(done);
  }
  PyErr_Restore(type, error, trace);
}

PyObject* call_method(PyObject* callable, PyObject* const* args, std::size_t flags, PyObject* keywords) {
  auto* const method = reinterpret_cast<Method*>(callable);
  const Py_ssize_t count = PyVectorcall_NARGS(flags);
  if (method->kind >= 0 && count > 0) {
    FastCall call{static_cast<Collective>(method->kind)};
    if (bind(call, args + 1, count - 1, keywords)) {
      if (PyCommunicator* core = core_of(args[0])) {
        PyObject* result = run_fast(*core, call);
        if (result != Py_NotImplemented) return result;
        Py_DECREF(result);
      }
    }
  }
  PyObject* result = PyObject_Vectorcall(method->function, args, flags, keywords);
  if (result == nullptr && count > 0 && PyErr_ExceptionMatches(PyExc_TypeError)) announce_binding_error(args[0]);
  return result;
}

PyObject* create(PyTypeObject* type, PyObject* args, PyObject*) {
  PyObject* function = nullptr;
  int kind = -1;
  if (!PyArg_ParseTuple(args, "O|i", &function, &kind)) return nullptr;
  auto* self = reinterpret_cast<Method*>(type->tp_alloc(type, 0));
  if (self == nullptr) return nullptr;
  self->call = &call_method;
  self->function = Py_NewRef(function);
  self->kind = kind;
  return reinterpret_cast<PyObject*>(self);
}

void destroy(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  Py_CLEAR(reinterpret_cast<Method*>(self)->function);
  type->tp_free(self);
  Py_DECREF(type);
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(reinterpret_cast<Method*>(self)->function);
  return 0;
}

PyObject* get(PyObject* self, PyObject* object, PyObject*) {
  return object == nullptr || object == Py_None ? Py_NewRef(self) : PyMethod_New(self, object);
}

/// __name__, __module__ and the rest are the function's.
PyObject* attribute(PyObject* self, PyObject* name) {
  PyObject* found = PyObject_GenericGetAttr(self, name);
  if (found != nullptr || !PyErr_ExceptionMatches(PyExc_AttributeError)) return found;
  PyErr_Clear();
  return PyObject_GetAttr(reinterpret_cast<Method*>(self)->function, name);
}

PyObject* documentation(PyObject* self, void*) {
  return PyObject_GetAttrString(reinterpret_cast<Method*>(self)->function, "__doc__");
}

PyObject* module_name(PyObject* self, void*) {
  return PyObject_GetAttrString(reinterpret_cast<Method*>(self)->function, "__module__");
}

PyObject* representation(PyObject* self) { return PyObject_Repr(reinterpret_cast<Method*>(self)->function); }

PyMemberDef members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Method, call), READONLY, nullptr},
    {"__wrapped__", T_OBJECT, offsetof(Method, function), READONLY, nullptr},
    {},
};

PyGetSetDef properties[] = {
    {"__doc__", &documentation, nullptr, nullptr, nullptr},
    {"__module__", &module_name, nullptr, nullptr, nullptr},
    {},
};

template <class F> PyType_Slot slot(int id, F* value) { return {id, reinterpret_cast<void*>(value)}; }

}  // namespace

void add_method_class(py::module_& m) {
  static PyType_Slot slots[] = {slot(Py_tp_new, &create),
                                slot(Py_tp_dealloc, &destroy),
                                slot(Py_tp_traverse, &traverse),
                                slot(Py_tp_descr_get, &get),
                                slot(Py_tp_getattro, &attribute),
                                slot(Py_tp_repr, &representation),
                                slot(Py_tp_call, &PyVectorcall_Call),
                                slot(Py_tp_members, &members[0]),
                                slot(Py_tp_getset, &properties[0]),
                                {0, nullptr}};
  static PyType_Spec spec{"pyccl._core.Method", sizeof(Method), 0,
                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                              Py_TPFLAGS_METHOD_DESCRIPTOR | Py_TPFLAGS_IMMUTABLETYPE,
                          slots};
  const auto type = py::reinterpret_steal<py::object>(PyType_FromSpec(&spec));
  if (!type) throw py::error_already_set();
  m.add_object("Method", type);
}

}  // namespace pyccl::bindings
