#include "server/sparse.h"

#include <cstring>

#include "server/segment_sum.h"

namespace pyccl::server {

SparseStorage::SparseStorage(const SparseSetting& setting, int clients)
    : table_(setting), held_(static_cast<std::size_t>(clients)) {}

bool SparseStorage::accepts(const Record& r) const {
  const std::int64_t n = r.count, dim = table_.setting().dim;
  const std::int64_t room = static_cast<std::int64_t>(r.bytes) - static_cast<std::int64_t>(sizeof(Record));
  if (n < 0) return false;
  if (r.kind == Kind::Load || r.kind == Kind::Export) return RowsLayout::whole_bytes(n, table_.width()) <= room;
  return (r.kind == Kind::PushRows || r.kind == Kind::PullRows) && RowsLayout::bytes(n, dim) <= room;
}

void SparseStorage::apply(const Record& piece, const char* payload, float scale) {
  const auto* ids = reinterpret_cast<const std::int64_t*>(payload);
  table_.push(ids, reinterpret_cast<const float*>(ids + piece.count), piece.count, scale);
}

void SparseStorage::hold(const Record& piece) {
  Gradient& held = held_[static_cast<std::size_t>(piece.client)];
  const auto* ids = reinterpret_cast<const std::int64_t*>(piece.payload());
  const auto* rows = reinterpret_cast<const float*>(ids + piece.count);
  held.ids.insert(held.ids.end(), ids, ids + piece.count);
  held.rows.insert(held.rows.end(), rows, rows + piece.count * table_.setting().dim);
}

void SparseStorage::discard(int client) { held_[static_cast<std::size_t>(client)] = {}; }

void SparseStorage::add(int client, float weight) {
  Gradient& held = held_[static_cast<std::size_t>(client)];
  sum_.ids.insert(sum_.ids.end(), held.ids.begin(), held.ids.end());
  for (const float value : held.rows) sum_.rows.push_back(weight * value);
  held.ids.clear();
  held.rows.clear();
}

void SparseStorage::commit(float scale) {
  const std::int64_t n = static_cast<std::int64_t>(sum_.ids.size()), dim = table_.setting().dim;
  const Segments segments = find_segments(sum_.ids.data(), n);
  std::vector<float> rows(segments.unique.size() * static_cast<std::size_t>(dim));
  segment_sum(segments, sum_.rows.data(), dim, rows.data());
  table_.push(segments.unique.data(), rows.data(), static_cast<std::int64_t>(segments.unique.size()), scale);
  sum_.ids.clear();
  sum_.rows.clear();
}

void SparseStorage::load(const Record& record) {
  const std::int64_t n = record.count;
  const auto* ids = reinterpret_cast<const std::int64_t*>(record.payload());
  table_.import_rows(ids, reinterpret_cast<const float*>(ids + 3 * n), ids + n, ids + 2 * n, n);
}

void SparseStorage::read(Record& request) {
  auto* ids = reinterpret_cast<std::int64_t*>(request.payload());
  if (request.kind == Kind::PullRows) {
    table_.pull(ids, request.count, reinterpret_cast<float*>(ids + request.count));
    return;
  }
  SparseRows rows;
  request.log = static_cast<std::uint64_t>(table_.export_rows(request.version, request.count, rows));
  const auto n = static_cast<std::int64_t>(rows.ids.size());
  const auto column = static_cast<std::size_t>(n) * 8;
  request.piece = static_cast<std::int32_t>(n);
  if (n == 0) return;
  std::memcpy(ids, rows.ids.data(), column);
  std::memcpy(ids + n, rows.versions.data(), column);
  std::memcpy(ids + 2 * n, rows.touches.data(), column);
  std::memcpy(ids + 3 * n, rows.values.data(), rows.values.size() * 4);
}

std::int64_t SparseStorage::bytes() const {
  std::size_t held = sum_.ids.size() * 8 + sum_.rows.size() * 4;
  for (const Gradient& g : held_) held += g.ids.size() * 8 + g.rows.size() * 4;
  return table_.bytes() + static_cast<std::int64_t>(held);
}

}  // namespace pyccl::server
