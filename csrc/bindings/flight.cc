// The record of operations, and who is told when something is wrong with one.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bindings/communicator.h"
#include "core/error.h"

namespace py = pybind11;
using namespace pybind11::literals;

namespace pyccl::bindings {
namespace {

const char* kind_name(std::uint8_t kind, std::uint8_t op) {
  if (const char* whole = purpose(kind, op)) return whole;
  switch (kind) {
    case kSend: return "send";
    case kReceive: return "recv";
    case kAllocate: return "empty";
    case kRegister: return "register";
    case kGroup: return "group";
    case kSplit: return "split";
    case kAborted: return "refused";
    default: return kind < kCollectives ? name(static_cast<Collective>(kind)) : "unknown";
  }
}

const char* state_name(FlightState state) {
  static constexpr const char* names[] = {"queued", "running", "done", "failed"};
  return names[static_cast<int>(state)];
}

py::tuple row(PyCommunicator& comm, const FlightRecord& r) {
  const FlightEntry& e = r.entry;
  const bool collective = e.kind < kCollectives;
  const auto kind = static_cast<Collective>(e.kind);
  const bool reducing = collective && kind != Collective::Barrier && reduces(kind);
  const bool typed = e.kind == kSend || e.kind == kReceive || (collective && kind != Collective::Barrier);
  const auto dtype = static_cast<DataType>(e.dtype);
  const std::int64_t item = typed ? static_cast<std::int64_t>(item_size(dtype)) : 1;
  const bool known = collective && e.algorithm != kNoAlgorithm;
  const auto time = [](double t) -> py::object { return t < 0 ? py::object(py::none()) : py::float_(t); };
  return py::make_tuple(r.number, r.sequence, kind_name(e.kind, e.op), reducing ? name(static_cast<OpKind>(e.op)) : "",
                        typed ? name(dtype) : "", e.count, e.count * item,
                        known ? comm.core().algorithm_name(e.algorithm) : std::string(), e.peer, e.tag,
                        state_name(r.state), time(r.queued), time(r.start), time(r.end), comm.place_name(r.place),
                        r.error);
}

py::list read(PyCommunicator& comm) {
  py::list rows;
  for (const FlightRecord& r : comm.core().flight().read()) rows.append(row(comm, r));
  return rows;
}

}  // namespace

/// A few times a second in every long wait: signals, and where the user's call that waits stands.
void PyCommunicator::poll() {
  const py::gil_scoped_acquire gil;
  if (PyErr_CheckSignals() != 0) throw PyInterrupted(py::error_already_set());
  const std::uint64_t running = core_.running();
  if (running != 0 && core_.flight().place(running) == 0) core_.flight().set_place(running, find_place());
}

std::int32_t PyCommunicator::find_place() {
  if (!observers_.place) return 0;
  const auto text = observers_.place().cast<std::string>();
  const auto [found, fresh] = place_indices_.try_emplace(text, static_cast<std::int32_t>(places_.size()));
  if (fresh) places_.push_back(text);
  return found->second;
}

void PyCommunicator::notify(const py::function& observer, std::string text) {
  const py::gil_scoped_acquire gil;
  const std::string& place = place_name(core_.flight().place(core_.running()));
  if (!place.empty()) text += ", called at " + place;
  try {
    observer(text);
  } catch (py::error_already_set& error) {
    error.discard_as_unraisable("pyccl's observer of its operations");
  }
}

void PyCommunicator::observe(double stall, bool always, bool debug, Observers observers) {
  debug_ = debug;
  places_always_ = always;
  observers_ = std::move(observers);
  core_.set_observer(
      stall, [this](const std::string& text) { notify(observers_.stalled, text); },
      [this](const Error& error) { notify(observers_.failed, error.what()); });
}

void register_flight(py::module_& m) {
  const py::object communicator = m.attr("Communicator");
  py::class_<PyCommunicator, std::shared_ptr<PyCommunicator>>(communicator)
      .def("flight", &read)
      .def("flight_written", [](PyCommunicator& c) { return c.core().flight().written(); })
      .def(
          "flight_reset", [](PyCommunicator& c, std::size_t capacity) { c.core().flight().reset(capacity); },
          "capacity"_a)
      .def(
          "observe",
          [](PyCommunicator& c, double stall, bool always, bool debug, py::function place, py::function stalled,
             py::function failed) {
            c.observe(stall, always, debug, {std::move(place), std::move(stalled), std::move(failed)});
          },
          "stall"_a, "always"_a, "debug"_a, "place"_a, "stalled"_a, "failed"_a);
}

}  // namespace pyccl::bindings
