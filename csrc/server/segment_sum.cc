#include "server/segment_sum.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "server/hash.h"
#include "server/row_store.h"

namespace pyccl::server {
namespace {

constexpr std::int64_t kAhead = 16;

/// For each i, positions of the i in `keys`, by counting.
void group(const std::vector<std::int64_t>& keys, std::size_t groups, std::vector<std::int64_t>& starts,
           std::vector<std::int64_t>& positions) {
  starts.assign(groups + 1, 0);
  positions.resize(keys.size());
  for (const std::int64_t key : keys) ++starts[static_cast<std::size_t>(key) + 1];
  for (std::size_t i = 1; i <= groups; ++i) starts[i] += starts[i - 1];
  std::vector<std::int64_t> next(starts.begin(), starts.end() - 1);
  for (std::size_t i = 0; i < keys.size(); ++i)
    positions[static_cast<std::size_t>(next[static_cast<std::size_t>(keys[i])]++)] = static_cast<std::int64_t>(i);
}

/// Adds `count` rows, in the order of their bits.
void sum_rows(const float** rows, std::int64_t count, std::int64_t dim, std::vector<double>& sum, float* out) {
  const auto bytes = static_cast<std::size_t>(dim) * sizeof(float);
  std::sort(rows, rows + count, [&](const float* a, const float* b) { return std::memcmp(a, b, bytes) < 0; });
  sum.assign(rows[0], rows[0] + dim);
  for (std::int64_t k = 1; k < count; ++k) {
    for (std::int64_t i = 0; i < dim; ++i) sum[static_cast<std::size_t>(i)] += rows[k][i];
  }
  for (std::int64_t i = 0; i < dim; ++i) out[i] = static_cast<float>(sum[static_cast<std::size_t>(i)]);
}

}  // namespace

Segments find_segments(const std::int64_t* ids, std::int64_t n) {
  Segments found;
  found.unique.reserve(static_cast<std::size_t>(n));
  found.inverse.resize(static_cast<std::size_t>(n));
  const std::uint64_t entries = std::bit_ceil(static_cast<std::uint64_t>(n) * 2 + 1), mask = entries - 1;
  std::vector<std::int64_t> table(entries, -1);  // numbers of unique ids
  for (std::int64_t i = 0; i < n; ++i) {
    if (i + kAhead < n) __builtin_prefetch(&table[index_hash(ids[i + kAhead]) & mask]);
    std::uint64_t at = index_hash(ids[i]) & mask;
    while (table[at] >= 0 && found.unique[static_cast<std::size_t>(table[at])] != ids[i]) at = (at + 1) & mask;
    if (table[at] < 0) {
      table[at] = static_cast<std::int64_t>(found.unique.size());
      found.unique.push_back(ids[i]);
    }
    found.inverse[static_cast<std::size_t>(i)] = table[at];
  }
  if (static_cast<std::int64_t>(found.unique.size()) < n)
    group(found.inverse, found.unique.size(), found.starts, found.positions);
  return found;
}

void segment_sum(const Segments& segments, const float* rows, std::int64_t dim, float* out) {
  const auto bytes = static_cast<std::size_t>(dim) * sizeof(float);
  if (segments.all_unique()) {
    if (!segments.unique.empty()) std::memcpy(out, rows, segments.unique.size() * bytes);
    return;
  }
  std::vector<const float*> same;
  std::vector<double> sum;
  for (std::size_t i = 0; i < segments.unique.size(); ++i, out += dim) {
    same.clear();
    for (std::int64_t k = segments.starts[i]; k < segments.starts[i + 1]; ++k)
      same.push_back(rows + segments.positions[static_cast<std::size_t>(k)] * dim);
    if (same.size() == 1) std::memcpy(out, same[0], bytes);
    else sum_rows(same.data(), static_cast<std::int64_t>(same.size()), dim, sum, out);
  }
}

void spread(const Segments& segments, const float* unique_rows, std::int64_t dim, float* out) {
  const auto bytes = static_cast<std::size_t>(dim) * sizeof(float);
  for (const std::int64_t i : segments.inverse) {
    std::memcpy(out, unique_rows + i * dim, bytes);
    out += dim;
  }
}

Parts partition(const std::int64_t* ids, std::int64_t n, int shards, int home) {
  std::vector<std::int64_t> keys(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) keys[static_cast<std::size_t>(i)] = home < 0 ? shard_of(ids[i], shards) : home;
  Parts parts;
  group(keys, static_cast<std::size_t>(shards), parts.starts, parts.positions);
  return parts;
}

}  // namespace pyccl::server
