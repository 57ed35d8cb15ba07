#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings/columns.h"
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
                                  double timeout) {
  std::vector<shm::Descriptor> open;
  std::vector<int> numbers;
  const shm::Descriptor memory = shm::open_memory(requests.first, requests.second, 4096);
  for (const auto& [pid, fd] : heaps) {
    open.push_back(shm::open_memory(pid, fd, server::kHeapBytes));
    numbers.push_back(open.back().get());
  }
  return std::make_unique<Endpoint>(std::move(setup), memory.get(), numbers, timeout, look_up);
}

server::Flow flow(const std::string& name) {
  if (name == "immediate") return server::Flow::Immediate;
  if (name == "clocked") return server::Flow::Clocked;
  if (name == "averaged") return server::Flow::Averaged;
  if (name == "buffered") return server::Flow::Buffered;
  throw py::value_error("flow must be immediate, clocked, averaged or buffered, got " + name);
}

using Floats = py::array_t<float, py::array::c_style>;

void check_length(const Endpoint& endpoint, const std::vector<std::int64_t>& bounds, const Floats& array) {
  if (bounds.size() != static_cast<std::size_t>(endpoint.group().shards()) + 1 || bounds.back() != array.size())
    throw py::value_error("bounds do not fit the array");
}

py::dict counters(const Endpoint& endpoint, int number) {
  const server::Counters& c = endpoint.group().counters(number);
  return py::dict("requests"_a = c.requests.load(), "bytes"_a = c.bytes.load(), "duplicates"_a = c.duplicates.load(),
                  "forwarded"_a = c.forwarded.load(), "busy"_a = 1e-9 * static_cast<double>(c.busy_ns.load()),
                  "failovers"_a = c.failovers.load(), "recovery"_a = 1e-9 * static_cast<double>(c.recovery_ns.load()));
}

}  // namespace

void register_server(py::module_& m) {
  using Unlocked = py::call_guard<py::gil_scoped_release>;
  py::class_<shm::Descriptor>(m, "ServerMemory")
      .def_static("requests", &server::Group::create_requests, "size"_a, "servers"_a, "clients"_a, "replicas"_a)
      .def_static("heap", &server::Group::create_heap)
      .def_property_readonly("fd", &shm::Descriptor::get)
      .def("close", &shm::Descriptor::close);
  py::class_<Endpoint>(m, "ServerEndpoint")
      .def(py::init([](int rank, int size, std::vector<int> servers, std::vector<int> clients, int replicas,
                       std::vector<std::int64_t> pids, bool crowded, int yields, const Place& requests,
                       const std::vector<Place>& heaps, double timeout) {
             server::Setup setup{rank, size, std::move(servers), std::move(clients), replicas, std::move(pids), {}};
             setup.policy.crowded = crowded;
             setup.policy.yields = yields;
             return connect(std::move(setup), requests, heaps, timeout);
           }),
           "rank"_a, "size"_a, "servers"_a, "clients"_a, "replicas"_a, "pids"_a, "crowded"_a, "yields"_a, "requests"_a,
           "heaps"_a, "timeout"_a)
      .def(
          "add_dense",
          [](Endpoint& endpoint, std::string name, const std::string& how, bool mean, const policy::Rule& rule,
             const kernels::Optimizer& optimizer, const std::vector<std::int64_t>& bounds, const Floats& initial) {
            check_length(endpoint, bounds, initial);
            const server::TableSpec spec{std::move(name), flow(how), mean, optimizer, &rule};
            const float* data = initial.data();
            const py::gil_scoped_release unlocked;
            endpoint.add_dense(spec, bounds, data);
          },
          "name"_a, "flow"_a, "mean"_a, "rule"_a, "optimizer"_a, "bounds"_a, "initial"_a)
      .def("start", &Endpoint::start)
      .def(
          "stop",
          [](Endpoint& endpoint) {
            if (endpoint.service() != nullptr) endpoint.service()->stop();
            endpoint.group().leave();
          },
          Unlocked())
      .def(
          "push",
          [](Endpoint& endpoint, int table, const Floats& gradient) {
            const float* data = gradient.data();
            const py::gil_scoped_release unlocked;
            return endpoint.client().push(table, data);
          },
          "table"_a, "gradient"_a)
      .def(
          "pull",
          [](Endpoint& endpoint, int table, Floats& out) {
            float* data = out.mutable_data();
            const py::gil_scoped_release unlocked;
            endpoint.client().pull(table, data);
          },
          "table"_a, "out"_a)
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
      .def("orphan",
           [](Endpoint& e) {
             if (e.service() != nullptr) e.service()->orphan();
           })
      .def("failure", [](Endpoint& e) { return e.service() == nullptr ? std::string() : e.service()->failure(); })
      .def(
          "lives", [](const Endpoint& endpoint, int rank) { return endpoint.group().lives(rank); }, "rank"_a)
      .def(
          "owner", [](const Endpoint& endpoint, int shard) { return endpoint.group().owner(shard); }, "shard"_a)
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
