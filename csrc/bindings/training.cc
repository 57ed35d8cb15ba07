#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <numbers>
#include <string>
#include <utility>
#include <vector>

#include "bindings/columns.h"
#include "policy/rule.h"
#include "sim/draws.h"
#include "sim/flow_wires.h"
#include "sim/group_wires.h"
#include "sim/random.h"
#include "sim/training.h"
#include "sim/uniform_wires.h"

namespace py = pybind11;
using namespace pybind11::literals;

namespace pyccl::bindings {
namespace {

/// One member of every row, as a column.
template <class T, class Row, class Of> py::array_t<T> column(const std::vector<Row>& rows, Of&& of) {
  py::array_t<T> out(static_cast<py::ssize_t>(rows.size()));
  T* to = out.mutable_data();
  for (const Row& row : rows) *to++ = static_cast<T>(of(row));
  return out;
}

using Routes = std::pair<Array<std::int64_t>, Array<std::int32_t>>;

sim::Table table_of(const Routes& routes, std::size_t rows, std::size_t links) {
  sim::Table table{vector_of(routes.first), {routes.second.data(), routes.second.data() + routes.second.size()}};
  std::int64_t before = 0;
  for (const std::int64_t end : table.ends) {
    if (end < before) throw py::value_error("ends must not descend");
    before = end;
  }
  if (table.ends.size() != rows || before != static_cast<std::int64_t>(table.links.size()))
    throw py::value_error("routes have the wrong length");
  for (const int link : table.links) {
    if (link < 0 || static_cast<std::size_t>(link) >= links) throw py::value_error("unknown link");
  }
  return table;
}

std::unique_ptr<sim::FlowWires> flow_wires(std::uint32_t slots, std::uint32_t servers, const Array<double>& capacity,
                                           const Array<double>& latency, const Routes& up, const Routes& down,
                                           const Routes& across, double push, double pull, double state, double apply,
                                           std::uint32_t replicas, std::uint32_t dead, double dies, double recovery) {
  constexpr std::uint64_t kMostParts = 1U << 26;
  if (slots < 1 || servers < 1 || replicas >= servers || dead >= servers)
    throw py::value_error("slots, servers, replicas or dead is out of range");
  if (std::uint64_t{2} * slots * servers > kMostParts) throw py::value_error("too many workers times servers");
  if (capacity.size() != latency.size()) throw py::value_error("latency and capacity differ");
  const auto links = static_cast<std::size_t>(capacity.size());
  const auto rows = static_cast<std::size_t>(up.first.size());
  if (rows % servers != 0) throw py::value_error("routes have the wrong length");
  return std::make_unique<sim::FlowWires>(sim::FlowSetting{slots, servers, vector_of(capacity), vector_of(latency),
                                                           table_of(up, rows, links), table_of(down, rows, links),
                                                           table_of(across, std::size_t{servers} * servers, links),
                                                           push, pull, state, apply, replicas, dead, dies, recovery});
}

std::unique_ptr<sim::GroupWires> group_wires(std::uint32_t slots, std::uint32_t servers, const Array<double>& capacity,
                                             const Array<double>& latency, const Routes& up, const Routes& down,
                                             double push, double pull, double apply) {
  if (slots < 1 || servers < 1) throw py::value_error("slots or servers is out of range");
  if (capacity.size() != latency.size()) throw py::value_error("latency and capacity differ");
  const auto links = static_cast<std::size_t>(capacity.size()), rows = static_cast<std::size_t>(up.first.size());
  if (rows % servers != 0) throw py::value_error("routes have the wrong length");
  const auto rates = vector_of(capacity), delays = vector_of(latency);
  const sim::Table there = table_of(up, rows, links), back = table_of(down, rows, links);
  const py::gil_scoped_release nogil;
  return std::make_unique<sim::GroupWires>(sim::find_ways(there, back, servers, rates, delays), rates, push, pull,
                                           apply, slots);
}

py::dict columns(const sim::TrainingLog& log) {
  using Seconds = sim::TrainingLog::Seconds;
  using Row = sim::TrainingLog::Row;
  using Span = sim::TrainingLog::Span;
  static_assert(sizeof(Seconds) == 5 * sizeof(double));
  py::array_t<double> seconds({static_cast<py::ssize_t>(log.seconds.size()), py::ssize_t{5}});
  std::memcpy(seconds.mutable_data(), log.seconds.data(), log.seconds.size() * sizeof(Seconds));
  return py::dict("seconds"_a = seconds, "finish"_a = array_of(log.finish), "rounds"_a = array_of(log.rounds),
                  "pushes"_a = array_of(log.pushes), "pulls"_a = array_of(log.pulls),
                  "step_ends"_a = array_of(log.step_ends), "staleness"_a = array_of(log.staleness),
                  "dropped"_a = log.dropped, "used"_a = log.used, "events"_a = log.events, "makespan"_a = log.makespan,
                  "lost"_a = log.lost, "all_applied"_a = log.all_applied,
                  "applied_time"_a = column<double>(log.applied, [](const Row& row) { return row.time; }),
                  "applied_worker"_a = column<std::int64_t>(log.applied, [](const Row& row) { return row.client; }),
                  "applied_read"_a = column<std::int64_t>(log.applied, [](const Row& row) { return row.read; }),
                  "applied_made"_a = column<std::int64_t>(log.applied, [](const Row& row) { return row.made; }),
                  "span_rank"_a = column<std::int64_t>(log.spans, [](const Span& span) { return span.client; }),
                  "span_kind"_a = column<std::int64_t>(log.spans, [](const Span& span) { return span.kind; }),
                  "span_begin"_a = column<double>(log.spans, [](const Span& span) { return span.begin; }),
                  "span_end"_a = column<double>(log.spans, [](const Span& span) { return span.end; }),
                  "span_step"_a = column<std::int64_t>(log.spans, [](const Span& span) { return span.round; }));
}

/// How long each client computes; a table comes again from its beginning.
struct Seconds {
  std::uint32_t clients;
  std::function<double(std::uint32_t, std::uint64_t)> of;
};

Seconds table(const Array<double>& seconds) {
  if (seconds.ndim() != 2 || seconds.shape(1) == 0) throw py::value_error("seconds must have shape (workers, steps)");
  const auto steps = static_cast<std::uint64_t>(seconds.shape(1));
  auto values = std::make_shared<std::vector<double>>(vector_of(seconds));
  return {static_cast<std::uint32_t>(seconds.shape(0)), [values, steps](std::uint32_t client, std::uint64_t step) {
            return (*values)[client * steps + step % steps];
          }};
}

Seconds drawn(const sim::Distribution& compute, const std::vector<double>& factors, double slow, double enter,
              double leave, std::uint64_t seed, std::uint32_t workers) {
  if (factors.size() != 1 && factors.size() != workers) throw py::value_error("factors needs 1 entry or one a worker");
  const sim::Draws draws{compute, factors, slow, enter, leave, seed};
  return {workers, [draws](std::uint32_t client, std::uint64_t step) { return draws.seconds(client, step); }};
}

/// At time t a share mean + swing * sin(2 pi t / period) of all clients is available; who, is drawn anew every period.
std::function<bool(std::uint32_t, double)> availability(std::uint64_t seed, double mean, double swing, double period) {
  if (mean >= 1 && swing == 0) return {};
  return [=](std::uint32_t client, double now) {
    const double periods = now / period, share = mean + swing * std::sin(2 * std::numbers::pi * periods);
    return sim::uniform(seed, client, static_cast<std::uint64_t>(periods), sim::Stream::Availability) < share;
  };
}

std::unique_ptr<sim::Sampling> sampling(std::uint32_t clients, std::uint32_t slots, bool cohorts, std::uint64_t seed,
                                        double retry, double mean, double swing, double period) {
  if (slots < 1 || slots > clients) throw py::value_error("slots must be in [1, clients]");
  if (!(retry > 0 && period > 0)) throw py::value_error("retry and period must be above 0");
  const auto uniform = [seed](std::uint32_t who, std::uint64_t draw) {
    return sim::uniform(seed, who, draw, sim::Stream::Sampling);
  };
  return std::make_unique<sim::Sampling>(
      sim::Sampling::Setting{clients, slots, cohorts, uniform, availability(seed, mean, swing, period), retry});
}

py::dict train(policy::Rule& rule, sim::Wires& wires, const Seconds& seconds, sim::Sampling* clients,
               const Array<double>& starts, int local_steps, std::int64_t rounds, std::int64_t versions, double horizon,
               std::int64_t trace_rounds, std::int64_t most_rows, std::int64_t most_events) {
  sim::Training s;
  s.slots = static_cast<std::uint32_t>(rule.workers());
  s.clients = seconds.clients;
  s.seconds = seconds.of;
  s.local_steps = local_steps;
  s.starts = vector_of(starts);
  s.rounds = rounds;
  s.versions = versions;
  s.horizon = horizon;
  s.sampling = clients;
  s.trace_rounds = trace_rounds;
  s.most_rows = most_rows;
  s.most_events = most_events;
  s.look_up = look_up;
  if (clients == nullptr ? s.clients != s.slots : clients->clients() != s.clients)
    throw py::value_error("seconds has another number of workers");
  if (!s.starts.empty() && s.starts.size() != s.slots) throw py::value_error("starts needs one entry per worker");
  sim::TrainingLog log(0, 0);
  {
    const py::gil_scoped_release nogil;
    log = sim::train(s, rule, wires);
  }
  return columns(log);
}

}  // namespace

void register_training(py::module_& m) {
  py::class_<sim::Wires>(m, "SimWires")
      .def_static(
          "uniform",
          [](std::uint32_t slots, double push, double pull, double up, double down, double limit, double latency,
             double apply) -> std::unique_ptr<sim::Wires> {
            return std::make_unique<sim::UniformWires>(sim::Lane{push, up, limit}, sim::Lane{pull, down, limit},
                                                       latency, apply, slots);
          },
          "slots"_a, "push"_a, "pull"_a, "up"_a, "down"_a, "limit"_a, "latency"_a, "apply"_a);
  py::class_<sim::FlowWires, sim::Wires>(m, "SimFlowWires")
      .def(py::init(&flow_wires), "slots"_a, "servers"_a, "capacity"_a, "latency"_a, "up"_a, "down"_a, "across"_a,
           "push"_a, "pull"_a, "state"_a, "apply"_a, "replicas"_a, "dead"_a, "dies"_a, "recovery"_a)
      .def_property_readonly("link_bytes", [](const sim::FlowWires& wires) { return array_of(wires.link_bytes()); });
  py::class_<sim::GroupWires, sim::Wires>(m, "SimGroupWires")
      .def(py::init(&group_wires), "slots"_a, "servers"_a, "capacity"_a, "latency"_a, "up"_a, "down"_a, "push"_a,
           "pull"_a, "apply"_a)
      .def_property_readonly("groups", &sim::GroupWires::groups);
  py::class_<Seconds>(m, "SimSeconds")
      .def_static("table", &table, "seconds"_a)
      .def_static("drawn", &drawn, "compute"_a, "factors"_a, "slow"_a, "enter"_a, "leave"_a, "seed"_a, "workers"_a);
  py::class_<sim::Sampling>(m, "SimSampling")
      .def(py::init(&sampling), "clients"_a, "slots"_a, "cohorts"_a, "seed"_a, "retry"_a, "mean"_a, "swing"_a,
           "period"_a);
  m.def("sim_train", &train, "rule"_a, "wires"_a, "seconds"_a, "sampling"_a.none(true), "starts"_a, "local_steps"_a,
        "rounds"_a, "versions"_a, "horizon"_a, "trace_rounds"_a, "most_rows"_a, "most_events"_a);
}

}  // namespace pyccl::bindings
