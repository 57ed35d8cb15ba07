#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cmath>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/columns.h"
#include "sim/graph_run.h"

namespace py = pybind11;
using namespace pybind11::literals;

namespace pyccl::bindings {
namespace {

template <class T> using Strided = py::array_t<T, 0>;

template <class T> sim::View<T> view(const py::object& columns, const char* name, py::ssize_t count) {
  const py::object value = columns.attr(name);
  if (!py::isinstance<Strided<T>>(value)) throw py::type_error(std::string(name) + " has the wrong dtype");
  const auto array = py::reinterpret_borrow<Strided<T>>(value);
  const auto item = static_cast<py::ssize_t>(sizeof(T));
  if (array.ndim() != 1 || array.shape(0) != count) throw py::value_error(std::string(name) + " has the wrong shape");
  if (count > 1 && array.strides(0) != 0 && array.strides(0) != item)
    throw py::value_error(std::string(name) + " must be contiguous, or one value");
  return {array.data(), count > 1 && array.strides(0) == 0 ? 0U : 1U};
}

/// The arrays belong to `columns` (and `call`), which must outlive the result.
sim::Column column_of(const py::object& columns) {
  const auto n = static_cast<py::ssize_t>(py::len(columns.attr("kind")));
  const auto edges = static_cast<py::ssize_t>(py::len(columns.attr("deps")));
  sim::Column c;
  c.count = static_cast<std::size_t>(n);
  c.kind = view<std::uint8_t>(columns, "kind", n);
  c.nbytes = view<std::int64_t>(columns, "nbytes", n);
  c.peer = view<std::int32_t>(columns, "peer", n);
  c.tag = view<std::int32_t>(columns, "tag", n);
  c.duration = view<double>(columns, "duration", n);
  c.group = view<std::int32_t>(columns, "group", n);
  c.lane = view<std::int32_t>(columns, "lane", n);
  c.call = view<std::int32_t>(columns, "call", n);
  c.starts = view<std::int64_t>(columns, "starts", n + 1);
  c.deps = view<std::int32_t>(columns, "deps", edges);
  c.begun = view<std::uint8_t>(columns, "begun", edges);
  if (c.starts[c.count] != edges) throw py::value_error("starts must end with the number of dependencies");
  return c;
}

using Groups = std::vector<std::tuple<int, int, std::vector<int>>>;
using Calls = std::vector<std::tuple<const sim::Play*, std::vector<double>, double>>;

std::vector<sim::Call> calls_of(const Calls& given) {
  std::vector<sim::Call> calls;
  for (const auto& [play, chunk_bytes, gamma] : given) {
    if (play && chunk_bytes.size() != 1 && chunk_bytes.size() != static_cast<std::size_t>(play->nchunks))
      throw py::value_error("chunk_bytes needs 1 entry or one a chunk");
    calls.push_back({play, {chunk_bytes, gamma, false}});
  }
  return calls;
}

void check_ways(const sim::Ways& w, int size) {
  bool good = w.first.size() == static_cast<std::size_t>(size) + 1 && w.first.front() == 0 &&
              w.first.back() == static_cast<std::int64_t>(w.destination.size()) &&
              w.ends.size() == w.destination.size() && w.latency.size() == w.capacity.size() &&
              (w.ends.empty() ? 0 : w.ends.back()) == static_cast<std::int64_t>(w.links.size());
  for (std::size_t i = 1; good && i < w.first.size(); ++i) good = w.first[i] >= w.first[i - 1];
  for (std::size_t i = 0; good && i < w.ends.size(); ++i) good = w.ends[i] >= (i > 0 ? w.ends[i - 1] : 0);
  for (std::size_t i = 0; good && i < w.links.size(); ++i)
    good = w.links[i] >= 0 && static_cast<std::size_t>(w.links[i]) < w.capacity.size();
  if (!good) throw py::value_error("the ways contradict themselves");
}

void check_calls(const sim::Graph& graph, const sim::ReplaySetting& s, int kinds) {
  bool good = s.classes.size() == static_cast<std::size_t>(graph.gatherings()) &&
              s.table.size() == static_cast<std::size_t>(kinds) * static_cast<std::size_t>(s.nclasses);
  for (const int one : s.classes) good = good && one >= 0 && one < s.nclasses;
  for (const int one : s.table) good = good && one >= -1 && one < static_cast<int>(s.calls.size());
  if (!good) throw py::value_error("the table of collectives has the wrong shape");
}

template <class T> py::array_t<T> array_of(std::vector<T>&& values) {
  auto* kept = new std::vector<T>(std::move(values));
  const py::capsule owner(kept, [](void* p) { delete static_cast<std::vector<T>*>(p); });
  return py::array_t<T>(static_cast<py::ssize_t>(kept->size()), kept->data(), owner);
}

template <class T> std::vector<T> vector_of(const py::object& given) {
  const auto array = py::cast<py::array_t<T, py::array::c_style | py::array::forcecast>>(given);
  return {array.data(), array.data() + array.size()};
}

py::dict replay(const py::list& columns, const Groups& groups, int size, const py::tuple& ways, const Calls& calls,
                const std::vector<int>& classes, int nclasses, const std::vector<int>& table, int kinds,
                const std::vector<double>& loggp, bool measured, bool spans, std::int64_t most_events,
                std::int64_t most_memory) {
  std::vector<sim::Column> parts;
  for (const auto& one : columns) parts.push_back(column_of(py::reinterpret_borrow<py::object>(one)));
  std::vector<sim::Group> gathers;
  for (const auto& [count, stride, ranks] : groups) gathers.push_back({count, stride, ranks});
  sim::ReplaySetting s;
  s.ways = {vector_of<std::int64_t>(ways[0]), vector_of<std::int32_t>(ways[1]), vector_of<std::int64_t>(ways[2]),
            vector_of<std::int32_t>(ways[3]), vector_of<double>(ways[4]),       vector_of<double>(ways[5])};
  if (loggp.size() == 4) s.loggp = sim::LogGP{loggp[0], loggp[1], loggp[2], loggp[3]};
  s.calls = calls_of(calls);
  s.classes = classes;
  s.nclasses = nclasses;
  s.table = table;
  s.measured = measured;
  s.spans = spans;
  s.most_events = most_events;
  s.most_memory = most_memory;
  s.look_up = look_up;
  check_ways(s.ways, size);
  sim::ReplayOutcome out;
  {
    py::gil_scoped_release nogil;
    const sim::Graph graph(std::move(parts), std::move(gathers), size, kinds);
    check_calls(graph, s, kinds);
    out = sim::replay(graph, s);
  }
  return py::dict("finish"_a = array_of(std::move(out.finish)), "compute"_a = array_of(std::move(out.compute)),
                  "communication"_a = array_of(std::move(out.communication)),
                  "way_bytes"_a = array_of(std::move(out.way_bytes)), "begin"_a = array_of(std::move(out.begin)),
                  "end"_a = array_of(std::move(out.end)), "before"_a = array_of(std::move(out.before)),
                  "stuck"_a = out.stuck, "messages"_a = out.messages, "events"_a = out.events);
}

}  // namespace

void register_replay(py::module_& m) {
  m.def("sim_replay", &replay, "columns"_a, "groups"_a, "size"_a, "ways"_a, "calls"_a, "classes"_a, "nclasses"_a,
        "table"_a, "kinds"_a, "loggp"_a, "measured"_a, "spans"_a, "most_events"_a, "most_memory"_a);
}

}  // namespace pyccl::bindings
