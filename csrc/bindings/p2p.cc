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

/// One side of a message of a plain array; nothing for everything that needs a closer look.
std::optional<MessageCall> fast_side(PyCommunicator& self, bool sends, PyObject* array, PyObject* peer, PyObject* tag) {
  const auto rank = small_int(peer, self.core().size());
  const auto label = small_int(tag, std::int64_t{1} << 31);
  const auto seen = plain(array);
  if (!rank || !label || !seen || *rank == self.core().rank() || (!sends && !seen->writable)) return std::nullopt;
  return MessageCall{sends, *rank, *label, seen->dtype, seen->elements, seen->data, -1.0};
}

/// send, recv and sendrecv; false, with nothing done, for everything that needs a closer look.
bool fast_message(PyCommunicator& self, bool sends, PyObject* const* args) {
  if (!self.shortcuts()) return false;
  const auto call = fast_side(self, sends, args[0], args[1], args[2]);
  if (!call) return false;
  std::vector<MessageCall> messages{*call};
  self.core().enter(messages, FlightState::Running, self.place());
  self.transfer(std::move(messages), args[0]);
  return true;
}

bool fast_sendrecv(PyCommunicator& self, PyObject* const* args) {
  if (!self.shortcuts()) return false;
  const auto out = fast_side(self, true, args[0], args[1], args[4]);
  const auto in = fast_side(self, false, args[2], args[3], args[4]);
  if (!out || !in) return false;
  const auto *a = static_cast<const char*>(out->data), *b = static_cast<const char*>(in->data);
  if (a < b + Envelope::of(*in, 0).bytes && b < a + Envelope::of(*out, 0).bytes) return false;
  std::vector<MessageCall> messages{*out, *in};
  self.core().enter(messages, FlightState::Running, self.place());
  self.transfer(std::move(messages), py::make_tuple(py::handle(args[0]), py::handle(args[2])));
  return true;
}

template <int arguments, class Function> PyObject* call_fast(PyObject* self, Py_ssize_t count, Function&& function) {
  try {
    if (count != arguments) throw py::type_error("wrong number of arguments");
    return PyBool_FromLong(function(*py::cast<PyCommunicator*>(py::handle(self))));
  } catch (...) {
    py::detail::try_translate_exceptions();
    return nullptr;
  }
}

PyObject* call_send(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  return call_fast<3>(self, count, [&](PyCommunicator& c) { return fast_message(c, true, args); });
}

PyObject* call_recv(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  return call_fast<3>(self, count, [&](PyCommunicator& c) { return fast_message(c, false, args); });
}

PyObject* call_sendrecv(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  return call_fast<5>(self, count, [&](PyCommunicator& c) { return fast_sendrecv(c, args); });
}

PyMethodDef message_method(const char* name, PyObject* (*function)(PyObject*, PyObject* const*, Py_ssize_t),
                           const char* doc) {
  return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function)), METH_FASTCALL, doc};
}

struct Calls {
  std::vector<MessageCall> messages;
  std::vector<Prepared> collectives;
  std::uint64_t group = 0;             // the number in the record of its beginning
  std::vector<std::uint64_t> tickets;  // of the collectives
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
  const std::int32_t place = self.place();
  if (!calls.collectives.empty()) {
    calls.group = self.enter(kGroup, static_cast<std::int64_t>(calls.collectives.size()));
  }
  self.core().enter(calls.messages, FlightState::Queued, place);
  for (const Prepared& p : calls.collectives) {
    calls.tickets.push_back(self.core().enter(p.call, FlightState::Queued, place));
  }
  calls.keep = hold(py::make_tuple(arrays, plans, result));
  return calls;
}

/// All of a group, or nothing if a rank refuses it; a failure later that leaves the communicator intact must not keep
/// the rest from its peers.
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
  if (!calls.collectives.empty()) core.agree_to_group(calls.collectives.size(), calls.group);
  if (!calls.messages.empty()) attempt([&] { core.transfer(calls.messages); });
  for (std::size_t i = 0; i < calls.collectives.size(); ++i) {
    attempt([&] { core.execute(calls.collectives[i], calls.tickets[i]); });
  }
  if (first) std::rethrow_exception(first);
}

void launch(PyCommunicator& self, const std::vector<PyMessage>& messages, const py::list& plans) {
  auto calls = std::make_shared<Calls>(unpack(self, messages, plans, py::none()));
  if (plans.empty()) return self.transfer(std::move(calls->messages), *calls->keep);
  self.check_open();
  py::gil_scoped_release nogil;
  if (!self.progress().busy()) return run(self.core(), *calls);
  self.run_queued([&core = self.core(), calls] { run(core, *calls); });
}

PyWork launch_async(PyCommunicator& self, const std::vector<PyMessage>& messages, const py::list& plans,
                    py::object result) {
  self.check_open();
  auto calls = std::make_shared<Calls>(unpack(self, messages, plans, result));
  if (plans.empty()) return {self.issue(std::move(calls->messages), calls->keep), std::move(result)};
  return {self.progress().submit([&core = self.core(), calls] { run(core, *calls); }), std::move(result)};
}

}  // namespace

void PyCommunicator::transfer(std::vector<MessageCall> messages, py::handle arrays) {
  std::shared_ptr<py::object> keep;
  check_open();
  if (progress_.busy()) keep = hold(py::reinterpret_borrow<py::object>(arrays));
  const NoGil nogil;
  try {
    if (!keep) return core_.transfer(std::move(messages));
    const auto work = issue(std::move(messages), std::move(keep));
    wait_for(*work);
  } catch (const CommError&) {
    if (core_.health().broken()) failures_->seen();
    throw;
  }
}

std::shared_ptr<Work> PyCommunicator::issue(std::vector<MessageCall> messages, std::shared_ptr<py::object> keep) {
  auto job = std::make_shared<Job>();
  job->messages = std::move(messages);
  job->keep = std::move(keep);
  job->work = std::make_shared<Work>(failures_);
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
      .def(py::init(&make_message), "sends"_a, "peer"_a, "tag"_a, "array"_a, "timeout"_a)
      .def_property_readonly("sends", [](const PyMessage& m) { return m.call.sends; })
      .def_readonly("array", &PyMessage::array);
  const py::object communicator = m.attr("Communicator");
  py::class_<PyCommunicator, std::shared_ptr<PyCommunicator>>(communicator)
      .def("launch", &launch, "messages"_a, "plans"_a)
      .def("launch_async", &launch_async, "messages"_a, "plans"_a, "result"_a)
      .def("record", &PyCommunicator::record, "on"_a);
  static PyMethodDef send = message_method("send", &call_send, "send(self, x, dest, tag)");
  static PyMethodDef recv = message_method("recv", &call_recv, "recv(self, out, source, tag)");
  add_method(communicator, send);
  static PyMethodDef sendrecv = message_method("sendrecv", &call_sendrecv, "sendrecv(self, x, dest, out, source, tag)");
  add_method(communicator, recv);
  add_method(communicator, sendrecv);
}

}  // namespace pyccl::bindings
