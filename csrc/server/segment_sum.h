// Ids with duplicates: the unique ones, sums of their rows, and which shard has them.
#pragma once

#include <cstdint>
#include <vector>

namespace pyccl::server {

/// Where `unique[i]` stands among the given ids: `positions[starts[i]]` to `positions[starts[i + 1] - 1]`, ascending.
struct Segments {
  std::vector<std::int64_t> unique;             // in the order of their first appearance
  std::vector<std::int64_t> inverse;            // ids[i] == unique[inverse[i]]
  std::vector<std::int64_t> starts, positions;  // empty if all ids are unique
  bool all_unique() const { return starts.empty(); }
};

Segments find_segments(const std::int64_t* ids, std::int64_t n);

/// Sums the rows of each unique id. The bits do not depend on the order of duplicates: their rows are added in the
/// order of their bits, in float64, and rounded once. If all ids are unique, `rows` is the answer, and `out` a copy.
void segment_sum(const Segments& segments, const float* rows, std::int64_t dim, float* out);

/// From rows of the unique ids to rows of the given ones.
void spread(const Segments& segments, const float* unique_rows, std::int64_t dim, float* out);

struct Parts {
  std::vector<std::int64_t> starts, positions;  // shard s has ids[positions[starts[s]]] to …[starts[s + 1] - 1]
};

/// Which ids go to which shard, all of them to `home` if there is one; in the order given, within each.
Parts partition(const std::int64_t* ids, std::int64_t n, int shards, int home = -1);

}  // namespace pyccl::server
