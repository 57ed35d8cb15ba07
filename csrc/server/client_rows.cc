// Pushes and pulls of rows: duplicates are summed, and each shard gets its own.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "server/client.h"
#include "server/segment_sum.h"

namespace pyccl::server {
namespace {

constexpr std::int64_t kMostBytes = kPieceElements * 4;

/// Copies chosen rows one behind the other.
void collect(const std::int64_t* positions, std::int64_t n, const float* rows, std::int64_t dim, char* out) {
  const auto bytes = static_cast<std::size_t>(dim) * 4;
  for (std::int64_t i = 0; i < n; ++i) std::memcpy(out + i * dim * 4, rows + positions[i] * dim, bytes);
}

void collect_ids(const std::int64_t* positions, std::int64_t n, const std::int64_t* ids, char* out) {
  for (std::int64_t i = 0; i < n; ++i) std::memcpy(out + i * 8, ids + positions[i], 8);
}

/// Whether all values, none of them a NaN, are smaller than that.
bool below(const std::vector<float>& values, float limit) {
  bool good = true;
  for (const float value : values) good &= std::fabs(value) < limit;
  return good;
}

}  // namespace

std::optional<Ticket> Client::push_rows(int table, const std::int64_t* ids, const float* rows, std::int64_t n,
                                        float limit) {
  const std::lock_guard lock(mutex_);
  const TableInfo& t = info(table);
  const std::string what = "push('" + t.name + "')";
  check_working(what);
  const std::vector<int> shards = shards_of(t);
  check_owned(shards);
  const Segments segments = find_segments(ids, n);
  std::vector<float> summed, gathered;
  if (!segments.all_unique()) {
    summed.resize(segments.unique.size() * static_cast<std::size_t>(t.dim));
    segment_sum(segments, rows, t.dim, summed.data());
    if (limit > 0 && !below(summed, limit)) return std::nullopt;
    rows = summed.data();
  }
  const auto unique = static_cast<std::int64_t>(segments.unique.size());
  const Parts parts = partition(segments.unique.data(), unique, group_->shards(), t.home);
  const std::int64_t most = std::max<std::int64_t>(1, kMostBytes / RowsLayout::bytes(1, t.dim));
  for (const int shard : shards) {
    const auto s = static_cast<std::size_t>(shard);
    const std::int64_t begin = parts.starts[s], total = parts.starts[s + 1] - begin;
    const std::int64_t pieces = std::max<std::int64_t>(1, (total + most - 1) / most);
    for (std::int64_t piece = 0; piece < pieces; ++piece) {
      const std::int64_t count = std::min(most, total - piece * most);
      const std::int64_t* positions = parts.positions.data() + begin + piece * most;
      const std::int64_t bytes = count * 8 + kernels::encoded_bytes(t.wire, count * t.dim);
      Record& record = make_room(shard, Kind::PushRows, table, bytes, what);
      record.piece = static_cast<std::int32_t>(piece);
      record.pieces = static_cast<std::int32_t>(pieces);
      record.count = static_cast<std::int32_t>(count);
      collect_ids(positions, count, segments.unique.data(), record.payload());
      record.wire = t.wire;
      if (t.wire == kernels::Codec::Float32) {
        collect(positions, count, rows, t.dim, record.payload() + count * 8);
      } else {
        gathered.resize(static_cast<std::size_t>(count * t.dim));
        collect(positions, count, rows, t.dim, reinterpret_cast<char*>(gathered.data()));
        kernels::encode(t.wire, record.payload() + count * 8, gathered.data(), count * t.dim);
      }
      publish(record);
    }
  }
  return asked_of(shards);
}

void Client::pull_rows(int table, const std::int64_t* ids, std::int64_t n, float* out) {
  const std::lock_guard lock(mutex_);
  const TableInfo& t = info(table);
  const std::string what = "pull('" + t.name + "')";
  const std::vector<int> shards = shards_of(t);
  check_owned(shards);
  begin(shards, table, what);
  const Segments segments = find_segments(ids, n);
  const auto unique = static_cast<std::int64_t>(segments.unique.size());
  const Parts parts = partition(segments.unique.data(), unique, group_->shards(), t.home);
  std::vector<float> rows(segments.all_unique() ? 0 : segments.unique.size() * static_cast<std::size_t>(t.dim));
  float* to = segments.all_unique() ? out : rows.data();
  const std::int64_t most = std::max<std::int64_t>(1, kMostBytes / RowsLayout::bytes(1, t.dim)), dim = t.dim;
  std::vector<std::int64_t> next(parts.starts.begin(), parts.starts.end() - 1);
  request(what, [&] {
    bool all = true;
    check_owned(shards);
    for (const int shard : shards) {
      const auto s = static_cast<std::size_t>(shard);
      while (next[s] < parts.starts[s + 1]) {
        const std::int64_t count = std::min(most, parts.starts[s + 1] - next[s]);
        Record* record = reserve(shard, Kind::PullRows, table, RowsLayout::bytes(count, dim));
        if (record == nullptr) break;
        const std::int64_t* positions = parts.positions.data() + next[s];
        record->count = static_cast<std::int32_t>(count);
        collect_ids(positions, count, segments.unique.data(), record->payload());
        rows_[s].push_back([positions, to, dim](const Record& answer) {
          const char* from = answer.payload() + std::int64_t{answer.count} * 8;
          const auto bytes = static_cast<std::size_t>(dim) * 4;
          for (std::int64_t i = 0; i < answer.count; ++i) {
            std::memcpy(to + positions[i] * dim, from + i * dim * 4, bytes);
          }
        });
        next[s] += count;
        publish(*record);
      }
      all &= next[s] == parts.starts[s + 1] && rows_[s].empty() && done_[s] >= issued_[s];
    }
    return all;
  });
  if (!segments.all_unique()) spread(segments, rows.data(), dim, out);
}

std::int64_t Client::export_rows(int table, int shard, std::int64_t begin, SparseRows& out) {
  const std::lock_guard lock(mutex_);
  const TableInfo& t = info(table);
  if (t.home >= 0 && t.home != shard) {
    out = {};
    return -1;
  }
  const std::int64_t width = t.dim * (1 + t.slots), most = kMostBytes / RowsLayout::whole_bytes(1, width);
  const std::int64_t count = std::max<std::int64_t>(1, most);
  Record& record = make_room(shard, Kind::Export, table, RowsLayout::whole_bytes(count, width), "save()");
  record.count = static_cast<std::int32_t>(count);
  record.version = begin;
  std::int64_t next = -1;
  bool done = false;
  rows_[static_cast<std::size_t>(shard)].push_back([&](const Record& answer) {
    const auto* ids = reinterpret_cast<const std::int64_t*>(answer.payload());
    const std::int64_t n = answer.piece;
    const auto* values = reinterpret_cast<const float*>(ids + 3 * n);
    out = {{ids, ids + n}, {values, values + n * width}, {ids + n, ids + 2 * n}, {ids + 2 * n, ids + 3 * n}};
    next = static_cast<std::int64_t>(answer.log);
    done = true;
  });
  publish(record);
  request("save()", [&] {
    check_owned({shard});
    return done;
  });
  return next;
}

Ticket Client::import_rows(int table, const SparseRows& rows) {
  const std::lock_guard lock(mutex_);
  check_working("load()");
  const TableInfo& t = info(table);
  const std::int64_t width = t.dim * (1 + t.slots);
  const std::int64_t most = std::max<std::int64_t>(1, kMostBytes / RowsLayout::whole_bytes(1, width));
  const Parts parts = partition(rows.ids.data(), static_cast<std::int64_t>(rows.ids.size()), group_->shards(), t.home);
  for (int shard = 0; shard < group_->shards(); ++shard) {
    const auto s = static_cast<std::size_t>(shard);
    for (std::int64_t begin = parts.starts[s]; begin < parts.starts[s + 1]; begin += most) {
      const std::int64_t count = std::min(most, parts.starts[s + 1] - begin);
      const std::int64_t* positions = parts.positions.data() + begin;
      Record& record = make_room(shard, Kind::Load, table, RowsLayout::whole_bytes(count, width), "load()");
      record.count = static_cast<std::int32_t>(count);
      collect_ids(positions, count, rows.ids.data(), record.payload());
      collect_ids(positions, count, rows.versions.data(), record.payload() + 8 * count);
      collect_ids(positions, count, rows.touches.data(), record.payload() + 16 * count);
      collect(positions, count, rows.values.data(), width, record.payload() + 24 * count);
      publish(record);
    }
  }
  return issued_;
}

}  // namespace pyccl::server
