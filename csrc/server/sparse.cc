#include "server/sparse.h"

#include <algorithm>
#include <cstring>

#include "server/segment_sum.h"

namespace pyccl::server {

SparseStorage::SparseStorage(const SparseSetting& setting, int clients)
    : table_(setting), held_(static_cast<std::size_t>(clients)) {}

bool SparseStorage::accepts(const Record& r) const {
  const std::int64_t n = r.count, dim = table_.setting().dim;
  if (n < 0) return false;
  if (r.kind == Kind::Load || r.kind == Kind::Export)
    return RowsLayout::whole_bytes(n, table_.width()) <= payload_room(r);
  if (r.kind == Kind::PullRows) return RowsLayout::bytes(n, dim) <= payload_room(r);
  return r.kind == Kind::PushRows && holds(r, n * 8, n * dim);
}

/// The rows of a push, decoded.
const float* SparseStorage::rows_of(const Record& push, const char* payload) {
  const char* rows = payload + std::int64_t{push.count} * 8;
  if (push.wire == kernels::Codec::Float32) return reinterpret_cast<const float*>(rows);
  const std::int64_t values = push.count * table_.setting().dim;
  decoded_.resize(static_cast<std::size_t>(values));
  kernels::decode(push.wire, decoded_.data(), rows, values);
  return decoded_.data();
}

void SparseStorage::apply(const Record& piece, const char* payload, float scale) {
  table_.push(reinterpret_cast<const std::int64_t*>(payload), rows_of(piece, payload), piece.count, scale);
}

void SparseStorage::hold(const Record& piece) {
  Gradient& held = held_[static_cast<std::size_t>(piece.client)];
  const auto* ids = reinterpret_cast<const std::int64_t*>(piece.payload());
  const float* rows = rows_of(piece, piece.payload());
  held.ids.insert(held.ids.end(), ids, ids + piece.count);
  held.rows.insert(held.rows.end(), rows, rows + piece.count * table_.setting().dim);
}

void SparseStorage::discard(int client) { held_[static_cast<std::size_t>(client)] = {}; }

void SparseStorage::add(int client, double weight) {
  const auto share = static_cast<float>(weight);
  Gradient& held = held_[static_cast<std::size_t>(client)];
  sum_.ids.insert(sum_.ids.end(), held.ids.begin(), held.ids.end());
  for (const float value : held.rows) sum_.rows.push_back(share * value);
  held.ids.clear();
  held.rows.clear();
}

void SparseStorage::commit(double scale) {
  const std::int64_t n = static_cast<std::int64_t>(sum_.ids.size()), dim = table_.setting().dim;
  const Segments segments = find_segments(sum_.ids.data(), n);
  std::vector<float> rows(segments.unique.size() * static_cast<std::size_t>(dim));
  segment_sum(segments, sum_.rows.data(), dim, rows.data());
  table_.push(segments.unique.data(), rows.data(), static_cast<std::int64_t>(segments.unique.size()),
              static_cast<float>(scale));
  sum_.ids.clear();
  sum_.rows.clear();
}

void SparseStorage::load(const Record& record) {
  const std::int64_t n = record.count;
  const auto* ids = reinterpret_cast<const std::int64_t*>(record.payload());
  table_.import_rows(ids, reinterpret_cast<const float*>(ids + 3 * n), ids + n, ids + 2 * n, n);
}

/// Writes rows as they lie in a Load.
void SparseStorage::write(const SparseRows& rows, char* to) {
  const auto put = [&to](const auto& column) {
    const std::size_t bytes = column.size() * sizeof(column[0]);
    if (bytes > 0) std::memcpy(to, column.data(), bytes);
    to += bytes;
  };
  put(rows.ids);
  put(rows.versions);
  put(rows.touches);
  put(rows.values);
}

void SparseStorage::read(Record& request) {
  auto* ids = reinterpret_cast<std::int64_t*>(request.payload());
  if (request.kind == Kind::PullRows) {
    table_.pull(ids, request.count, reinterpret_cast<float*>(ids + request.count));
    return;
  }
  SparseRows rows;
  request.log = static_cast<std::uint64_t>(table_.export_rows(request.version, request.count, rows));
  request.piece = static_cast<std::int32_t>(rows.ids.size());
  write(rows, request.payload());
}

std::int64_t SparseStorage::bytes() const {
  std::size_t held = sum_.ids.size() * 8 + sum_.rows.size() * 4;
  for (const Gradient& g : held_) held += g.ids.size() * 8 + g.rows.size() * 4;
  return table_.bytes() + static_cast<std::int64_t>(held);
}

void SparseStorage::save(BytesOut& out) const {
  for (const Gradient& g : held_) {
    out.put(g.ids);
    out.put(g.rows);
  }
  out.put(sum_.ids);
  out.put(sum_.rows);
  out.put(table_.export_state());
}

void SparseStorage::restore(BytesIn& in) {
  for (Gradient& g : held_) {
    in.get(g.ids);
    in.get(g.rows);
  }
  in.get(sum_.ids);
  in.get(sum_.rows);
  std::vector<std::uint8_t> state;
  in.get(state);
  table_.import_state(state.data(), static_cast<std::int64_t>(state.size()));
}

std::int64_t SparseStorage::part_bytes() const {
  return std::max<std::int64_t>(kPieceElements * 4, RowsLayout::whole_bytes(1, table_.width()));
}

bool SparseStorage::copy(std::int64_t& place, Record& load) const {
  if (place < 0) return false;
  SparseRows rows;
  place = table_.export_rows(place, part_bytes() / RowsLayout::whole_bytes(1, table_.width()), rows);
  load.count = static_cast<std::int32_t>(rows.ids.size());
  write(rows, load.payload());
  return true;
}

}  // namespace pyccl::server
