// send, recv and groups of operations.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>

#include "bindings/arrays.h"
#include "bindings/communicator.h"
#include "bindings/fast.h"
#include "comm/verdict.h"
#include "core/error.h"

namespace py = pybind11;
using namespace pybind11::literals;

namespace pyccl::bindings {
namespace {

/// A message and the array that it reads or fills.
struct PyMessage {
  MessageCall call;
  py::object array;
};

PyMessage make_message(bool sends, int peer, std::int32_t tag, py::object array, double timeout) {
  const auto seen = view(array);
  if (!seen) throw py::type_error("an array that arrays.py has not resolved reached the core");
  if (!sends && !seen->writable) throw py::value_error("out is read-only");
  return {{sends, peer, tag, seen->dtype, seen->elements, seen->data, timeout}, std::move(array)};
}

/// A Python int in [0, limit); nothing for all else.
std::optional<int> small_int(py::handle object, std::int64_t limit) {
  if (!PyLong_CheckExact(object.ptr())) return std::nullopt;
  int overflow = 0;
  const std::int64_t value = PyLong_AsLongLongAndOverflow(object.ptr(), &overflow);
  if (overflow != 0 || value < 0 || value >= limit) return std::nullopt;
  return static_cast<int>(value);
}

/// One message of a plain array; false, with nothing done, for everything that needs a closer look.
bool fast_message(PyCommunicator& self, bool sends, py::handle array, py::handle peer, py::handle tag) {
  const auto to = small_int(peer, self.core().size());
  const auto label = small_int(tag, std::int64_t{1} << 31);
  const auto seen = plain(array.ptr());
  if (!to || !label || !seen || !self.shortcuts() || *to == self.core().rank() || (!sends && !seen->writable))
    return false;
  self.transfer({{sends, *to, *label, seen->dtype, seen->elements, seen->data, -1.0}}, array);
  return true;
}

template <bool sends> PyObject* call_message(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  try {
    if (count != 3) throw py::type_error("send and recv take an array, a rank and a tag");
    return PyBool_FromLong(
        fast_message(*py::cast<PyCommunicator*>(py::handle(self)), sends, args[0], args[1], args[2]));
  } catch (...) {
    py::detail::try_translate_exceptions();
    return nullptr;
  }
}

PyMethodDef message_method(const char* name, PyObject* (*function)(PyObject*, PyObject* const*, Py_ssize_t),
                           const char* doc) {
  return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function)), METH_FASTCALL, doc};
}

struct Calls {
  std::vector<MessageCall> messages;
  std::vector<Prepared> collectives;
  std::shared_ptr<py::object> keep;
};

Calls unpack(PyCommunicator& self, const std::vector<PyMessage>& messages, const py::list& plans,
             const py::object& result) {
  Calls calls;
  py::list arrays;
  for (const PyMessage& m : messages) {
    calls.messages.push_back(m.call);
    arrays.append(m.array);
  }
  for (const py::handle plan : plans) calls.collectives.push_back(plan.cast<const PyPlan&>().prepared());
  check_own_messages(calls.messages, self.core().rank());
  calls.keep = hold(py::make_tuple(arrays, plans, result));
  return calls;
}

/// All of a group: a failure that leaves the communicator intact must not keep the rest from its peers.
void run(Communicator& core, const Calls& calls) {
  std::exception_ptr first;
  const auto attempt = [&](const auto& operation) {
    try {
      operation();
    } catch (const MismatchError&) {
      if (!first) first = std::current_exception();
    } catch (const PeerAborted&) {
      if (!first) first = std::current_exception();
    } catch (const Refused&) {
      if (!first) first = std::current_exception();
    }
  };
  if (!calls.messages.empty()) attempt([&] { core.transfer(calls.messages); });
  for (const Prepared& p : calls.collectives) attempt([&] { core.execute(p); });
  if (first) std::rethrow_exception(first);
}

void launch(PyCommunicator& self, const std::vector<PyMessage>& messages, const py::list& plans) {
  auto calls = std::make_shared<Calls>(unpack(self, messages, plans, py::none()));
  if (plans.empty()) return self.transfer(std::move(calls->messages), *calls->keep);
  py::gil_scoped_release nogil;
  if (!self.progress().busy()) return run(self.core(), *calls);
  const auto work = self.progress().submit([&core = self.core(), calls] { run(core, *calls); });
  wait_for(*work);
}

PyWork launch_async(PyCommunicator& self, const std::vector<PyMessage>& messages, const py::list& plans,
                    py::object result) {
  auto calls = std::make_shared<Calls>(unpack(self, messages, plans, result));
  if (plans.empty()) return {self.issue(std::move(calls->messages), calls->keep), std::move(result)};
  return {self.progress().submit([&core = self.core(), calls] { run(core, *calls); }), std::move(result)};
}

}  // namespace

void wait_for(Work& work) {
  while (!work.wait_for(0.05)) {
    py::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  }
  work.rethrow();
}

void PyCommunicator::transfer(std::vector<MessageCall> messages, py::handle arrays) {
  std::shared_ptr<py::object> keep;
  if (progress_.busy()) keep = hold(py::reinterpret_borrow<py::object>(arrays));
  const NoGil nogil;
  if (!keep) return core_.transfer(std::move(messages));
  const auto work = issue(std::move(messages), std::move(keep));
  wait_for(*work);
}

std::shared_ptr<Work> PyCommunicator::issue(std::vector<MessageCall> messages, std::shared_ptr<py::object> keep) {
  auto job = std::make_shared<Job>();
  job->messages = std::move(messages);
  job->keep = std::move(keep);
  job->work = std::make_shared<Work>();
  if (progress_.join(job)) {
    core_.wake();
  } else {
    auto batch = std::make_shared<Batch>();
    batch->add(job);
    progress_.submit_batch(batch, [this, batch] { core_.serve(*batch); });
  }
  return job->work;
}

void register_point_to_point(py::module_& m) {
  py::class_<PyMessage>(m, "Message")
      .def(py::init(&make_message), "sends"_a, "peer"_a, "tag"_a, "array"_a, "timeout"_a);
  const py::object communicator = m.attr("Communicator");
  py::class_<PyCommunicator, std::shared_ptr<PyCommunicator>>(communicator)
      .def("launch", &launch, "messages"_a, "plans"_a)
      .def("launch_async", &launch_async, "messages"_a, "plans"_a, "result"_a)
      .def("record", &PyCommunicator::record, "on"_a);
  static PyMethodDef send = message_method("send", &call_message<true>, "send(self, x, dest, tag)");
  static PyMethodDef recv = message_method("recv", &call_message<false>, "recv(self, out, source, tag)");
  add_method(communicator, send);
  add_method(communicator, recv);
}

}  // namespace pyccl::bindings
