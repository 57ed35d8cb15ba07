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

void check_signals() {
  py::gil_scoped_acquire gil;
  if (PyErr_CheckSignals() != 0) throw PyInterrupted(py::error_already_set());
}

std::string describe(const py::error_already_set& raised) {
  const auto name = raised.type().attr("__name__").cast<std::string>();
  const auto text = py::str(raised.value()).cast<std::string>();
  return text.empty() ? name : name + ": " + text;
}

Schedule make_schedule(const Communicator& core, Collective kind, int root, const py::tuple& built) {
  Schedule s;
  s.collective = kind;
  s.size = core.size();
  s.root = root;
  s.nchunks = built[0].cast<int>();
  s.digest = built[2].cast<std::uint32_t>();
  if (s.nchunks < 1 || s.nchunks > kMaxChunks) {
    throw std::invalid_argument("a schedule has between 1 and " + std::to_string(kMaxChunks) + " chunks, got " +
                                std::to_string(s.nchunks));
  }
  const auto tables = built[1].cast<py::sequence>();
  if (static_cast<int>(tables.size()) != s.size) throw std::invalid_argument("a schedule needs a table per rank");
  for (int r = 0; r < s.size; ++r) {
    const auto table = py::array_t<std::int32_t, py::array::c_style | py::array::forcecast>::ensure(tables[r]);
    s.ranks.push_back(decode_table({table.data(), static_cast<std::size_t>(table.size())}, r, s.size, s.nchunks));
  }
  return s;
}

}  // namespace

PyInterrupted::PyInterrupted(py::error_already_set raised)
    : Interrupted(describe(raised)), error(std::make_shared<py::error_already_set>(std::move(raised))) {}

std::shared_ptr<py::object> hold(py::object object) {
  return {new py::object(std::move(object)), [](py::object* p) {
            py::gil_scoped_acquire gil;
            delete p;
          }};
}

PyCommunicator::PyCommunicator(Communicator::Setup setup, std::unique_ptr<shm::Node> node,
                               std::shared_ptr<Remote> remote, std::vector<Link> links, py::function build)
    : core_(std::move(setup), std::move(node), std::move(remote), std::move(links)), build_(std::move(build)) {
  core_.set_poll([this] { poll(); });
}

Prepared PyCommunicator::resolve(const Call& call) {
  for (;;) {
    Prepared p;
    p.call = call;
    if (core_.prepare(p)) return p;
    const std::string name = core_.algorithm_name(p.call.algorithm);
    try {
      const auto built = build_(static_cast<int>(p.call.kind), name, p.call.root).cast<py::tuple>();
      core_.add_program(p.call.algorithm, make_schedule(core_, p.call.kind, p.call.root, built));
    } catch (py::error_already_set& raised) {
      if (raised.matches(PyExc_Exception)) throw;
      throw PyInterrupted(std::move(raised));  // Ctrl-C, which nobody may take for an argument's error
    }
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

void PyCommunicator::in_turn(const std::function<void()>& operation) {
  check_open();
  py::gil_scoped_release nogil;
  if (!progress_.busy()) return operation();
  run_queued(operation);
}

void PyCommunicator::refuse(const std::string& reason, double timeout) {
  const std::uint64_t ticket = enter(kAborted);
  in_turn([this, reason, timeout, ticket] { core_.refuse(reason, timeout, ticket); });
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

PyCommunicator::~PyCommunicator() {
  py::gil_scoped_release nogil;
  progress_.stop();
}

void PyCommunicator::refuse_closed() const {
  throw CommError(orphaned_ ? "the communicator is used after fork: it belongs to the parent process"
                            : "the communicator is closed");
}

void PyCommunicator::execute(const Prepared& prepared) {
  check_open();
  const FlightState state = progress_.busy() ? FlightState::Queued : FlightState::Running;
  const std::uint64_t ticket = core_.enter(prepared.call, state, place());
  const NoGil nogil;
  try {
    if (!progress_.busy()) return core_.execute(prepared, ticket);
    run_queued([this, copy = std::make_shared<Prepared>(prepared), ticket] { core_.execute(*copy, ticket); });
  } catch (const CommError&) {
    if (core_.health().broken()) failures_->seen();
    throw;
  }
}

void PyCommunicator::run_queued(std::function<void()> operation) {
  const auto work = progress_.submit(std::move(operation));
  wait_for(*work);
}

void PyCommunicator::wait_for(Work& work) {
  while (!work.wait_for(0.05)) {
    try {
      check_signals();
    } catch (const Interrupted& error) {
      core_.interrupt(error.what());
      constexpr double kSettle =
          5;  // at most; what runs sees within 50 ms that it is over, and leaves its arrays alone
      work.wait_for(kSettle);
      failures_->seen();
      throw;
    }
  }
  work.rethrow();
}

void PyCommunicator::close(double patience) {
  if (orphaned_) return;
  closed_ = true;
  const auto registered = core_.regions().adopted(0);
  {
    py::gil_scoped_release nogil;
    if (patience >= 0 && !progress_.drain(patience)) {
      core_.abort("rank " + std::to_string(core_.rank()) + " ended with operations pending");
    }
    progress_.stop();
    for (const auto& region : registered) {
      try {
        core_.release(*region);
      } catch (const Error&) {  // stays shared, which its owner does not notice
      }
    }
    core_.health().leave();
  }
  if (const auto error = failures_->take()) std::rethrow_exception(error);
}

void PyCommunicator::orphan() {
  closed_ = orphaned_ = true;
  failures_->orphan();
  core_.health().forget_links();
  // To destroy it would wait for threads, and call MPI for messages, that are the parent's.
  static_cast<void>(new std::shared_ptr<PyCommunicator>(shared_from_this()));
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
    if (work_->failures() && work_->failures()->orphaned()) {
      throw CommError("work of the parent process is waited for after fork");
    }
    if (limit >= 0 && monotonic_seconds() >= end) {
      throw Timeout("the operation is still running after " + format_seconds(limit), {});
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
