#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings/columns.h"
#include "engine/transport.h"
#include "server/crash.h"
#include "server/endpoint.h"

namespace py = pybind11;
using namespace pybind11::literals;

namespace pyccl::bindings {
namespace {

using server::Endpoint;
using server::Ticket;

/// pid, descriptor: where a rank shows its memory to the others.
using Place = std::pair<std::int64_t, int>;

std::unique_ptr<Endpoint> connect(server::Setup setup, const Place& requests, const std::vector<Place>& heaps,
                                  double timeout, std::shared_ptr<Remote> remote) {
  std::vector<shm::Descriptor> open;
  std::vector<int> numbers;
  const shm::Descriptor memory = shm::open_memory(requests.first, requests.second, 4096);
  for (const auto& [pid, fd] : heaps) {
    if (fd < 0) {  // on another node
      numbers.push_back(-1);
      continue;
    }
    open.push_back(shm::open_memory(pid, fd, server::kHeapBytes));
    numbers.push_back(open.back().get());
  }
  auto group = std::make_shared<server::Group>(std::move(setup), memory.get(), numbers);
  return std::make_unique<Endpoint>(std::move(group), timeout, look_up, std::move(remote));
}

server::Flow flow(const std::string& name) {
  if (name == "immediate") return server::Flow::Immediate;
  if (name == "clocked") return server::Flow::Clocked;
  if (name == "averaged") return server::Flow::Averaged;
  if (name == "buffered") return server::Flow::Buffered;
  throw py::value_error("flow must be immediate, clocked, averaged or buffered, got " + name);
}

kernels::Codec wire(const std::string& name) {
  if (name == "float32") return kernels::Codec::Float32;
  if (name == "float16") return kernels::Codec::Float16;
  if (name == "bfloat16") return kernels::Codec::BFloat16;
  if (name == "int8") return kernels::Codec::Int8;
  throw py::value_error("wire must be float32, float16, bfloat16 or int8, got " + name);
}

server::TableSpec make_spec(std::string name, const std::string& how, bool mean, bool wide, const std::string& codec,
                            const kernels::Optimizer& optimizer, const policy::Rule& rule, float lambda, bool adaptive,
                            double decay, float epsilon) {
  return {std::move(name), flow(how), mean, wide, wire(codec), optimizer, {lambda, adaptive, decay, epsilon},
          rule.clone()};
}

using Floats = py::array_t<float, py::array::c_style>;
using Ids = py::array_t<std::int64_t, py::array::c_style>;

void check_length(const Endpoint& endpoint, const std::vector<std::int64_t>& bounds, const Floats& array) {
  if (bounds.size() != static_cast<std::size_t>(endpoint.group().shards()) + 1 || bounds.back() != array.size())
    throw py::value_error("bounds do not fit the array");
}

py::tuple read(Endpoint& endpoint, int table, int shard, int column, std::int64_t count) {
  Floats values(count);
  py::array_t<std::int64_t> steps(server::DenseMemory::pieces(count));
  float* to = values.mutable_data();
  std::int64_t* made = steps.mutable_data();
  {
    const py::gil_scoped_release unlocked;
    endpoint.client().read(table, shard, column, to, made);
  }
  return py::make_tuple(values, steps);
}

Ticket load(Endpoint& endpoint, int table, int shard, int column, const Floats& values, const Ids& steps) {
  if (steps.size() != server::DenseMemory::pieces(values.size())) throw py::value_error("steps do not fit the values");
  const float* from = values.data();
  const std::int64_t* made = steps.data();
  const py::gil_scoped_release unlocked;
  return endpoint.client().load(table, shard, column, from, made);
}

py::tuple export_rows(Endpoint& endpoint, int table, int shard, std::int64_t begin) {
  server::SparseRows rows;
  std::int64_t next = -1;
  {
    const py::gil_scoped_release unlocked;
    next = endpoint.client().export_rows(table, shard, begin, rows);
  }
  return py::make_tuple(array_of(rows.ids), array_of(rows.values), array_of(rows.versions), array_of(rows.touches),
                        next);
}

Ticket import_rows(Endpoint& endpoint, int table, const Ids& ids, const Floats& values, const Ids& versions,
                   const Ids& touches) {
  server::check_ids(ids.data(), ids.size());
  const server::SparseRows rows{vector_of<std::int64_t>(ids), vector_of<float>(values),
                                vector_of<std::int64_t>(versions), vector_of<std::int64_t>(touches)};
  if (rows.versions.size() != rows.ids.size() || rows.touches.size() != rows.ids.size())
    throw py::value_error("columns differ in length");
  const py::gil_scoped_release unlocked;
  return endpoint.client().import_rows(table, rows);
}

py::dict counters(const Endpoint& endpoint, int number) {
  const server::Counters& c = endpoint.group().counters(number);
  return py::dict("requests"_a = c.requests.load(), "applied"_a = c.applied.load(), "dropped"_a = c.dropped.load(),
                  "staleness"_a = c.staleness.load(), "queued"_a = endpoint.group().queued(number),
                  "bytes"_a = c.bytes.load(), "duplicates"_a = c.duplicates.load(), "forwarded"_a = c.forwarded.load(),
                  "adopted"_a = c.adopted.load(), "busy"_a = 1e-9 * static_cast<double>(c.busy_ns.load()),
                  "moved"_a = c.moved.load(), "term"_a = std::max<std::int64_t>(1, c.term.load()),
                  "failovers"_a = c.failovers.load(), "recovery"_a = 1e-9 * static_cast<double>(c.recovery_ns.load()));
}

py::tuple view(const Endpoint& endpoint) {
  const server::View view = endpoint.group().view();
  std::vector<int> living;
  for (int rank = 0; rank < endpoint.group().size(); ++rank) {
    if (view.lives(rank)) living.push_back(rank);
  }
  return py::make_tuple(view.term, view.leader, living, view.lines);
}

/// For tests: this process dies when its server passes a point for the `times`-th time from now on.
void crash_at(const std::string& point, int times) {
  const auto* found = std::find(server::kPoints.begin(), server::kPoints.end(), point);
  if (found == server::kPoints.end()) throw py::value_error("a server has no point '" + point + "'");
  server::planned_crash.left = times;
  server::planned_crash.at = static_cast<server::Point>(found - server::kPoints.begin());
}

}  // namespace

void register_server(py::module_& m) {
  using Unlocked = py::call_guard<py::gil_scoped_release>;
  py::class_<shm::Descriptor>(m, "ServerMemory")
      .def_static("requests", &server::Group::create_requests, "size"_a, "servers"_a, "clients"_a, "replicas"_a)
      .def_static("heap", &server::Group::create_heap)
      .def_property_readonly("fd", &shm::Descriptor::get)
      .def("close", &shm::Descriptor::close);
  py::class_<server::TableSpec>(m, "ServerTable")
      .def(py::init(&make_spec), "name"_a, "flow"_a, "mean"_a, "wide"_a, "wire"_a, "optimizer"_a, "rule"_a,
           "compensation"_a = 0.0F, "adaptive"_a = false, "decay"_a = 0.95, "epsilon"_a = 1e-7F);
  py::class_<Endpoint>(m, "ServerEndpoint")
      .def(py::init([](int rank, int size, std::vector<int> servers, std::vector<int> clients, int replicas,
                       std::vector<std::int64_t> pids, bool crowded, double spin, int yields, const Place& requests,
                       const std::vector<Place>& heaps, double timeout, std::vector<int> nodes, std::vector<int> links,
                       std::shared_ptr<Remote> remote) {
             server::Setup setup{rank, size, std::move(servers), std::move(clients), replicas, std::move(pids), {},
                                 {},   {}};
             setup.policy = {crowded, spin, yields};
             setup.nodes = std::move(nodes);
             setup.links = std::move(links);
             return connect(std::move(setup), requests, heaps, timeout, std::move(remote));
           }),
           "rank"_a, "size"_a, "servers"_a, "clients"_a, "replicas"_a, "pids"_a, "crowded"_a, "spin"_a, "yields"_a,
           "requests"_a, "heaps"_a, "timeout"_a, "nodes"_a = std::vector<int>(), "links"_a = std::vector<int>(),
           "remote"_a = std::shared_ptr<Remote>())
      .def(
          "add_dense",
          [](Endpoint& endpoint, const server::TableSpec& spec, const std::vector<std::int64_t>& bounds,
             const Floats& initial) {
            check_length(endpoint, bounds, initial);
            const float* data = initial.data();
            const py::gil_scoped_release unlocked;
            endpoint.add_dense(spec, bounds, data);
          },
          "spec"_a, "bounds"_a, "initial"_a)
      .def("add_sparse", &Endpoint::add_sparse, "spec"_a, "setting"_a, "home"_a = -1)
      .def("start", &Endpoint::start)
      .def("stop", &Endpoint::stop, "patience"_a = 0.0, Unlocked())
      .def(
          "push",
          [](Endpoint& endpoint, int table, const Floats& gradient) {
            const float* data = gradient.data();
            const py::gil_scoped_release unlocked;
            return endpoint.client().push(table, data);
          },
          "table"_a, "gradient"_a)
      .def(
          "push_pull",
          [](Endpoint& endpoint, int table, const Floats& gradient, Floats& out) {
            const float* data = gradient.data();
            float* into = out.mutable_data();
            const py::gil_scoped_release unlocked;
            return endpoint.client().push_pull(table, data, into);
          },
          "table"_a, "gradient"_a, "out"_a)
      .def(
          "pull",
          [](Endpoint& endpoint, int table, Floats& out) {
            float* data = out.mutable_data();
            const py::gil_scoped_release unlocked;
            endpoint.client().pull(table, data);
          },
          "table"_a, "out"_a)
      .def(
          "push_rows",
          [](Endpoint& endpoint, int table, const Ids& ids, const Floats& rows, float limit) {
            const std::int64_t n = ids.size(), *first = ids.data();
            server::check_ids(first, n);
            const float* data = rows.data();
            const py::gil_scoped_release unlocked;
            return endpoint.client().push_rows(table, first, data, n, limit);
          },
          "table"_a, "ids"_a, "rows"_a, "limit"_a = 0.0F)
      .def(
          "pull_rows",
          [](Endpoint& endpoint, int table, const Ids& ids, Floats& out) {
            const std::int64_t n = ids.size(), *first = ids.data();
            server::check_ids(first, n);
            float* data = out.mutable_data();
            const py::gil_scoped_release unlocked;
            endpoint.client().pull_rows(table, first, n, data);
          },
          "table"_a, "ids"_a, "out"_a)
      .def("read", &read, "table"_a, "shard"_a, "column"_a, "count"_a)
      .def("load", &load, "table"_a, "shard"_a, "column"_a, "values"_a, "steps"_a)
      .def("export_rows", &export_rows, "table"_a, "shard"_a, "begin"_a)
      .def("import_rows", &import_rows, "table"_a, "ids"_a, "values"_a, "versions"_a, "touches"_a)
      .def(
          "clock", [](Endpoint& endpoint) { return endpoint.client().clock(); }, Unlocked())
      .def(
          "leave", [](Endpoint& endpoint) { endpoint.client().leave(); }, Unlocked())
      .def("close_client", [](Endpoint& endpoint) { endpoint.group().close_client(); })
      .def(
          "done", [](Endpoint& endpoint, const Ticket& ticket) { return endpoint.client().done(ticket); }, "ticket"_a,
          Unlocked())
      .def(
          "wait",
          [](Endpoint& endpoint, const Ticket& ticket, double timeout) { endpoint.client().wait(ticket, timeout); },
          "ticket"_a, "timeout"_a, Unlocked())
      .def(
          "finished",
          [](Endpoint& endpoint) {
            server::Service* own = endpoint.service();
            return own == nullptr ? endpoint.group().clients_closed() : own->finished();
          },
          Unlocked())
      .def_static("crash_at", &crash_at, "point"_a, "times"_a = 1)
      .def("orphan", &Endpoint::orphan)
      .def("failure", &Endpoint::failure)
      .def(
          "carried",
          [](Endpoint& endpoint) {
            const server::Courier::Carried carried = endpoint.carried();
            return std::pair(carried.sent, carried.spared);
          },
          Unlocked())
      .def_property_readonly("shards", [](const Endpoint& endpoint) { return endpoint.group().shards(); })
      .def(
          "lives", [](const Endpoint& endpoint, int rank) { return endpoint.group().lives(rank); }, "rank"_a)
      .def("view", &view)
      .def(
          "mistake",
          [](Endpoint& endpoint, int shard, int server, std::uint32_t term) {
            endpoint.client().mistake(shard, server, term);
          },
          "shard"_a, "server"_a, "term"_a)
      .def(
          "holds",
          [](const Endpoint& endpoint, int shard, int server) { return endpoint.group().ready(shard, server).load(); },
          "shard"_a, "server"_a)
      .def("counters", &counters, "server"_a)
      .def(
          "seen",
          [](Endpoint& endpoint, int table) {
            const server::Client::Seen seen = endpoint.client().seen(table);
            return py::make_tuple(seen.staleness, seen.applied, seen.dropped);
          },
          "table"_a);
}

}  // namespace pyccl::bindings
