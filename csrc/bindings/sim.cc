#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/columns.h"
#include "sim/network.h"
#include "sim/payload.h"
#include "sim/schedule_run.h"
#include "sim/script.h"

namespace py = pybind11;
using namespace pybind11::literals;

namespace pyccl::bindings {
namespace {

using Tables = std::vector<Array<std::int32_t>>;

std::vector<std::vector<Step>> decode(const Tables& tables, int size, int nchunks) {
  std::vector<std::vector<Step>> ranks;
  for (const auto& table : tables) {
    const std::span<const std::int32_t> words(table.data(), static_cast<std::size_t>(table.size()));
    ranks.push_back(decode_table(words, static_cast<int>(ranks.size()), size, nchunks));
  }
  return ranks;
}

void check_length(std::size_t length, std::int64_t wanted, const char* what) {
  if (length != 1 && length != static_cast<std::size_t>(wanted))
    throw py::value_error(std::string(what) + " needs 1 entry or " + std::to_string(wanted));
}

std::unique_ptr<sim::Play> make_play(const Tables& tables, int size, int nchunks, bool rotates) {
  if (size < 1 || nchunks < 1 || nchunks > kMaxChunks) throw py::value_error("size or chunks out of range");
  if (tables.size() != (rotates ? 1U : static_cast<std::size_t>(size))) throw py::value_error("wrong number of tables");
  const auto steps = decode(tables, size, nchunks);
  py::gil_scoped_release nogil;
  return std::make_unique<sim::Play>(sim::lower(steps, size, nchunks, rotates));
}

py::tuple run(const sim::Play& play, const Array<double>& latency, const Array<std::int64_t>& ends,
              const Array<std::int32_t>& links, const Array<double>& capacity, const Array<double>& chunk_bytes,
              const Array<double>& starts, double gamma, bool folded, std::int64_t most_events) {
  sim::Setting s;
  s.routes.latency = vector_of(latency);
  s.routes.ends = vector_of(ends);
  s.routes.capacity = vector_of(capacity);
  s.terms.chunk_bytes = vector_of(chunk_bytes);
  s.starts = vector_of(starts);
  s.terms.gamma = gamma;
  s.terms.folded = folded;
  s.most_events = most_events;
  s.look_up = look_up;
  s.routes.links.assign(links.data(), links.data() + links.size());
  check_length(s.terms.chunk_bytes.size(), play.nchunks, "chunk_bytes");
  check_length(s.starts.size(), play.size, "starts");
  if (s.routes.ends.empty()) {
    check_length(s.routes.capacity.size(), play.pairs(), "capacity");
    check_length(s.routes.latency.size(), play.pairs(), "latency");
  } else {
    if (s.routes.latency.size() != s.routes.capacity.size()) throw py::value_error("latency and capacity differ");
    if (s.routes.ends.size() != static_cast<std::size_t>(play.pairs())) throw py::value_error("ends needs every pair");
    std::int64_t before = 0;
    for (const std::int64_t end : s.routes.ends) {
      if (end < before) throw py::value_error("ends must not descend");
      before = end;
    }
    if (before != static_cast<std::int64_t>(s.routes.links.size())) throw py::value_error("links and ends differ");
    for (const int link : s.routes.links) {
      if (link < 0 || static_cast<std::size_t>(link) >= s.routes.capacity.size()) throw py::value_error("unknown link");
    }
  }
  const bool uniform = s.routes.ends.empty() && s.routes.latency.size() == 1 && s.routes.capacity.size() == 1 &&
                       s.terms.chunk_bytes.size() == 1 && s.starts.size() == 1;
  if (folded && (!uniform || !play.rotates)) throw py::value_error("only equal ranks can be folded");
  sim::Outcome outcome;
  {
    py::gil_scoped_release nogil;
    outcome = sim::run(play, s);
  }
  return py::make_tuple(array_of(outcome.finish), array_of(outcome.pair_bytes), outcome.messages, outcome.events);
}

/// A network with the links of its flows, for tests.
class TestNetwork {
 public:
  TestNetwork(const std::vector<double>& capacity, int flows)
      : capacity_(capacity), network_(capacity, flows), links_(static_cast<std::size_t>(flows)) {}

  void start(std::size_t flow, std::vector<int> links, double bytes, double limit, double now) {
    for (const int link : links) (void)capacity_.at(static_cast<std::size_t>(link));
    if (!links_.at(flow).empty() || links.empty()) throw py::value_error("a flow is under way, or has no links");
    links_[flow] = std::move(links);
    network_.start(static_cast<int>(flow), links_[flow], bytes, limit, now);
  }
  void stop(std::size_t flow) {
    if (links_.at(flow).empty()) throw py::value_error("no such flow");
    network_.stop(static_cast<int>(flow));
    links_[flow].clear();
  }
  py::dict settle(double now) {
    py::dict ends;
    network_.settle(now, [&](int flow, double end) { ends[py::int_(flow)] = end; });
    return ends;
  }
  double rate(std::size_t flow) const { return links_.at(flow).empty() ? 0.0 : network_.rate(static_cast<int>(flow)); }

 private:
  std::vector<double> capacity_;
  sim::Network network_;
  std::vector<std::vector<int>> links_;
};

bool run_payload(const Tables& tables, int collective, int size, int root, int nchunks, const std::vector<int>& nodes,
                 int op, std::int64_t divisor, const std::vector<std::int64_t>& counts,
                 const std::vector<py::array>& inputs, std::vector<py::array> outputs) {
  const auto ranks = static_cast<std::size_t>(size);
  if (collective < 0 || collective >= kCollectives || op < 0 || op >= static_cast<int>(OpKind::User) ||
      tables.size() != ranks || inputs.size() != ranks || outputs.size() != ranks || nodes.size() != ranks ||
      counts.size() != static_cast<std::size_t>(nchunks))
    throw py::value_error("the parts of the payload do not fit each other");
  Schedule schedule{static_cast<Collective>(collective), size, root, nchunks, 0, decode(tables, size, nchunks)};
  kernels::Reduction how{DataType::F32, static_cast<OpKind>(op), nullptr};
  std::vector<const char*> from;
  std::vector<char*> to;
  for (std::size_t r = 0; r < ranks; ++r) {
    const auto in = view(inputs[r]), out = view(outputs[r]);
    if (!in || !out || !out->writable) throw py::type_error("payloads are contiguous arrays of a dtype that reduces");
    if (in->dtype != out->dtype || (r > 0 && in->dtype != how.dtype)) throw py::value_error("payloads differ in dtype");
    how.dtype = in->dtype;
    std::int64_t held = 0, due = 0;
    for (int c = 0; c < nchunks; ++c) {
      held += holds_initially(schedule, static_cast<int>(r), c) ? counts[c] : 0;
      due += holds_finally(schedule, static_cast<int>(r), c) ? counts[c] : 0;
    }
    if (in->elements != held || out->elements != due) throw py::value_error("a payload has the wrong length");
    from.push_back(in->data);
    to.push_back(out->data);
  }
  py::gil_scoped_release nogil;
  return sim::run_payload(schedule, nodes, how, divisor, counts, from, to);
}

}  // namespace

void register_sim(py::module_& m) {
  py::class_<sim::Play>(m, "SimPlay")
      .def(py::init(&make_play), "tables"_a, "size"_a, "nchunks"_a, "rotates"_a)
      .def_readonly("rotates", &sim::Play::rotates)
      .def_property_readonly("sources", [](const sim::Play& play) { return array_of(play.pair_src); })
      .def_property_readonly("destinations", [](const sim::Play& play) { return array_of(play.pair_dst); })
      .def("run", &run, "latency"_a, "ends"_a, "links"_a, "capacity"_a, "chunk_bytes"_a, "starts"_a, "gamma"_a,
           "folded"_a, "most_events"_a)
      .def(
          "traffic",
          [](const sim::Play& play, const Array<double>& chunk_bytes) {
            const auto bytes = vector_of(chunk_bytes);
            check_length(bytes.size(), play.nchunks, "chunk_bytes");
            return array_of(sim::traffic(play, bytes));
          },
          "chunk_bytes"_a);
  py::class_<TestNetwork>(m, "SimNetwork")
      .def(py::init<const std::vector<double>&, int>(), "capacity"_a, "flows"_a)
      .def("start", &TestNetwork::start, "flow"_a, "links"_a, "nbytes"_a, "limit"_a, "now"_a)
      .def("stop", &TestNetwork::stop, "flow"_a)
      .def("settle", &TestNetwork::settle, "now"_a)
      .def("rate", &TestNetwork::rate, "flow"_a);
  m.def("sim_payload", &run_payload, "tables"_a, "collective"_a, "size"_a, "root"_a, "nchunks"_a, "nodes"_a, "op"_a,
        "divisor"_a, "counts"_a, "inputs"_a, "outputs"_a);
}

}  // namespace pyccl::bindings
