#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "bindings/communicator.h"
#include "core/error.h"

namespace py = pybind11;

namespace pyccl::bindings {
namespace {

Schedule make_schedule(const Communicator& core, Collective kind, int root, const py::tuple& built) {
  Schedule s;
  s.collective = kind;
  s.size = core.size();
  s.root = root;
  s.nchunks = built[0].cast<int>();
  const auto tables = built[1].cast<py::sequence>();
  if (static_cast<int>(tables.size()) != s.size) throw std::invalid_argument("a schedule needs a table per rank");
  for (int r = 0; r < s.size; ++r) {
    const auto table = py::array_t<std::int32_t, py::array::c_style | py::array::forcecast>::ensure(tables[r]);
    s.ranks.push_back(decode_table({table.data(), static_cast<std::size_t>(table.size())}, r, s.size, s.nchunks));
  }
  return s;
}

}  // namespace

std::shared_ptr<py::object> hold(py::object object) {
  return {new py::object(std::move(object)), [](py::object* p) {
            py::gil_scoped_acquire gil;
            delete p;
          }};
}

PyCommunicator::PyCommunicator(Communicator::Setup setup, std::unique_ptr<shm::Node> node,
                               std::shared_ptr<Remote> remote, py::function build)
    : core_(std::move(setup), std::move(node), std::move(remote)), build_(std::move(build)) {
  core_.set_poll([this] { poll(); });
}

Prepared PyCommunicator::resolve(const Call& call) {
  for (;;) {
    Prepared p;
    p.call = call;
    if (core_.prepare(p)) return p;
    const std::string name = core_.algorithm_name(p.call.algorithm);
    const auto built = build_(static_cast<int>(p.call.kind), name, p.call.root).cast<py::tuple>();
    core_.add_program(p.call.algorithm, make_schedule(core_, p.call.kind, p.call.root, built));
  }
}

std::shared_ptr<const Prepared> PyCommunicator::resolve_cached(const Call& call) {
  const std::uint64_t now = core_.generation();
  for (const Remembered& r : remembered_) {
    if (r.generation != now) continue;
    const Call& c = r.prepared->call;
    if (c.kind == call.kind && c.root == call.root && c.input == call.input && c.output == call.output &&
        c.count == call.count && c.dtype == call.dtype && c.op == call.op) {
      return r.prepared;
    }
  }
  auto prepared = std::make_shared<const Prepared>(resolve(call));
  remembered_[oldest_++ % remembered_.size()] = {core_.generation(), prepared};
  return prepared;
}

void PyCommunicator::forget(const Region* region) {
  core_.regions().remove(region);
  remembered_.fill({});  // they would keep its memory
}

void PyCommunicator::execute(const Prepared& prepared) {
  if (closed_) throw CommError("the communicator is closed");
  const FlightState state = progress_.busy() ? FlightState::Queued : FlightState::Running;
  const std::uint64_t ticket = core_.enter(prepared.call, state, place());
  const NoGil nogil;
  if (!progress_.busy()) return core_.execute(prepared, ticket);
  auto work = progress_.submit([&] { core_.execute(prepared, ticket); });
  work->wait_for(-1);
  work->rethrow();
}

void PyCommunicator::in_turn(const std::function<void()>& operation) {
  py::gil_scoped_release nogil;
  if (!progress_.busy()) return operation();
  const auto work = progress_.submit(operation);
  wait_for(*work);
}

void PyCommunicator::refuse(const std::string& reason, double timeout) {
  const std::uint64_t ticket = enter(kAborted);
  in_turn([&] { core_.refuse(reason, timeout, ticket); });
}

const py::object& PyPlan::run() {
  const py::handle out = PyTuple_GET_ITEM(keep_.ptr(), 1);
  constexpr int kWriteable = py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
  if (!out.is_none() && (py::detail::array_proxy(out.ptr())->flags & kWriteable) == 0) {
    refuse("ValueError: out is read-only");
    throw py::value_error("out is read-only");
  }
  comm_->execute(prepared_);
  return result_;
}

void PyCommunicator::close() {
  closed_ = true;
  py::gil_scoped_release nogil;
  progress_.stop();
}

py::object PyWork::wait(py::object timeout) {
  const double limit = timeout.is_none() ? -1 : PyFloat_AsDouble(timeout.ptr());
  if (PyErr_Occurred()) throw py::error_already_set();
  if (!timeout.is_none() && !(limit >= 0)) {
    throw py::value_error("timeout must be a number of seconds, got " + std::string(py::repr(timeout)));
  }
  const double end = monotonic_seconds() + limit;
  for (;;) {
    {
      py::gil_scoped_release nogil;
      const double slice = limit < 0 ? 0.05 : std::min(0.05, std::max(0.0, end - monotonic_seconds()));
      if (work_->wait_for(slice)) break;
    }
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (limit >= 0 && monotonic_seconds() >= end) {
      throw Timeout("the operation is still running after " + std::to_string(limit) + " s", {});
    }
  }
  work_->rethrow();
  return result_;
}

py::object PyWork::result() {
  if (!done()) throw py::value_error("the operation is still running: call wait() first");
  work_->rethrow();
  return result_;
}

}  // namespace pyccl::bindings
