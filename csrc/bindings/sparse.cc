// Sparse tables on NumPy arrays. The GIL is kept: a table belongs to one thread at a time.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bindings/columns.h"
#include "server/hash.h"
#include "server/initializer.h"
#include "server/segment_sum.h"
#include "server/sparse_table.h"

namespace py = pybind11;
using namespace pybind11::literals;

namespace pyccl::bindings {
namespace {

using Ids = py::array_t<std::int64_t, py::array::c_style>;
using Floats = py::array_t<float, py::array::c_style>;

std::int64_t checked_ids(const Ids& ids) {
  if (ids.ndim() != 1) throw py::value_error("ids must have 1 dimension, got " + std::to_string(ids.ndim()));
  server::check_ids(ids.data(), ids.size());
  return ids.size();
}

void check_rows(const Floats& rows, const char* what, std::int64_t n, std::int64_t dim) {
  if (rows.ndim() == 2 && rows.shape(0) == n && rows.shape(1) == dim) return;
  std::string shape;
  for (py::ssize_t i = 0; i < rows.ndim(); ++i) shape += (i == 0 ? "" : ", ") + std::to_string(rows.shape(i));
  throw py::value_error(std::string(what) + " must have shape (" + std::to_string(n) + ", " + std::to_string(dim) +
                        "), got (" + shape + ")");
}

void check_column(const Ids& column, const char* what, std::int64_t n) {
  if (column.ndim() != 1 || column.size() != n)
    throw py::value_error(std::string(what) + " must have shape (" + std::to_string(n) + ",)");
}

std::int64_t checked_dim(std::int64_t dim) {
  if (dim < 1 || dim > server::SparseTable::kMostDim)
    throw py::value_error("dim must be from 1 to 2^24, got " + std::to_string(dim));
  return dim;
}

int checked_shards(int shards) {
  if (shards < 1) throw py::value_error("shards must be at least 1, got " + std::to_string(shards));
  return shards;
}

Floats empty_rows(std::int64_t n, std::int64_t dim) {
  return Floats({static_cast<py::ssize_t>(n), static_cast<py::ssize_t>(dim)});
}

server::Initializer make_initializer(int kind, float a, float b, std::uint64_t seed) {
  if (kind < 0 || kind >= server::Initializer::kKinds) throw py::value_error("no such initializer");
  return {static_cast<server::Initializer::Kind>(kind), a, b, seed};
}

Floats initial_rows(const server::Initializer& how, std::uint64_t table, const Ids& ids, std::int64_t dim) {
  const std::int64_t n = checked_ids(ids);
  Floats out = empty_rows(n, checked_dim(dim));
  for (std::int64_t i = 0; i < n; ++i) how.fill(table, ids.data()[i], out.mutable_data() + i * dim, dim);
  return out;
}

std::unique_ptr<server::SparseTable> make_table(std::int64_t dim, std::uint64_t table,
                                                const kernels::Optimizer& optimizer,
                                                const server::Initializer& initializer, std::int64_t after,
                                                double probability, std::int64_t counters, bool shared,
                                                std::int64_t max_rows, bool lfu, std::int64_t epochs) {
  const auto eviction = lfu ? server::Eviction::Lfu : server::Eviction::Lru;
  return std::make_unique<server::SparseTable>(server::SparseSetting{
      dim, table, optimizer, initializer, {after, probability, counters}, shared, max_rows, eviction, epochs});
}

void push(server::SparseTable& table, const Ids& ids, const Floats& rows, float scale) {
  check_rows(rows, "rows", checked_ids(ids), table.setting().dim);
  table.push(ids.data(), rows.data(), ids.size(), scale);
}

Floats pull(const server::SparseTable& table, const Ids& ids, std::optional<Floats> out) {
  const std::int64_t n = checked_ids(ids), dim = table.setting().dim;
  Floats to = out ? *out : empty_rows(n, dim);
  check_rows(to, "out", n, dim);
  table.pull(ids.data(), n, to.mutable_data());
  return to;
}

py::tuple export_rows(const server::SparseTable& table, std::int64_t begin, std::int64_t limit) {
  server::SparseRows rows;
  const std::int64_t next = table.export_rows(begin, limit, rows);
  const auto values =
      array_of(rows.values)
          .reshape({static_cast<py::ssize_t>(rows.ids.size()), static_cast<py::ssize_t>(table.width())});
  return py::make_tuple(array_of(rows.ids), values, array_of(rows.versions), array_of(rows.touches), next);
}

void import_rows(server::SparseTable& table, const Ids& ids, const Floats& values, const Ids& versions,
                 const Ids& touches) {
  const std::int64_t n = checked_ids(ids);
  check_rows(values, "values", n, table.width());
  check_column(versions, "versions", n);
  check_column(touches, "touches", n);
  table.import_rows(ids.data(), values.data(), versions.data(), touches.data(), n);
}

py::dict counts(const server::SparseTable& table) {
  const server::SparseCounts& c = table.counts();
  return py::dict("rows"_a = table.rows(), "bytes"_a = table.bytes(), "created"_a = c.created, "evicted"_a = c.evicted,
                  "refused"_a = c.refused);
}

py::tuple sum_segments(const Ids& ids, const Floats& rows) {
  const std::int64_t n = checked_ids(ids), dim = rows.ndim() == 2 ? rows.shape(1) : 1;
  check_rows(rows, "rows", n, dim);
  const server::Segments segments = server::find_segments(ids.data(), n);
  Floats out = empty_rows(static_cast<std::int64_t>(segments.unique.size()), dim);
  server::segment_sum(segments, rows.data(), dim, out.mutable_data());
  return py::make_tuple(array_of(segments.unique), out, array_of(segments.inverse));
}

py::tuple partition(const Ids& ids, int shards) {
  const server::Parts parts = server::partition(ids.data(), checked_ids(ids), checked_shards(shards));
  return py::make_tuple(array_of(parts.starts), array_of(parts.positions));
}

py::array_t<int> shard_of(const Ids& ids, int shards) {
  const std::int64_t n = checked_ids(ids);
  checked_shards(shards);
  py::array_t<int> out(n);
  for (std::int64_t i = 0; i < n; ++i) out.mutable_data()[i] = server::shard_of(ids.data()[i], shards);
  return out;
}

void register_table(py::module_& m) {
  using server::SparseTable;
  py::class_<SparseTable>(m, "SparseTable")
      .def(py::init(&make_table), "dim"_a, "table"_a, "optimizer"_a, "initializer"_a, "after"_a = 1,
           "probability"_a = 1.0, "counters"_a = 1 << 22, "shared"_a = false, "max_rows"_a = 0, "lfu"_a = false,
           "epochs"_a = 0)
      .def("push", &push, "ids"_a, "rows"_a, "scale"_a = 1.0F)
      .def("pull", &pull, "ids"_a, py::arg("out").noconvert() = py::none())
      .def(
          "versions",
          [](const SparseTable& table, const Ids& ids) {
            py::array_t<std::int64_t> out(checked_ids(ids));
            table.versions(ids.data(), ids.size(), out.mutable_data());
            return out;
          },
          "ids"_a)
      .def("tick", &SparseTable::tick)
      .def("evict", &SparseTable::evict)
      .def("export_rows", &export_rows, "begin"_a, "limit"_a)
      .def("import_rows", &import_rows, "ids"_a, "values"_a, "versions"_a, "touches"_a)
      .def("export_state", [](const SparseTable& table) { return array_of(table.export_state()); })
      .def(
          "import_state",
          [](SparseTable& table, const py::array_t<std::uint8_t, py::array::c_style>& state) {
            table.import_state(state.data(), state.size());
          },
          "state"_a)
      .def("counts", &counts)
      .def_property_readonly("time", &SparseTable::time)
      .def_property_readonly("clock", &SparseTable::clock);
}

}  // namespace

void register_sparse(py::module_& m) {
  py::class_<server::Initializer>(m, "SparseInitializer")
      .def(py::init(&make_initializer), "kind"_a, "a"_a, "b"_a, "seed"_a)
      .def("rows", &initial_rows, "table"_a, "ids"_a, "dim"_a);
  register_table(m);
  m.def("sparse_sum", &sum_segments, "ids"_a, "rows"_a);
  m.def("sparse_partition", &partition, "ids"_a, "shards"_a);
  m.def("sparse_shard_of", &shard_of, "ids"_a, "shards"_a);
}

}  // namespace pyccl::bindings
