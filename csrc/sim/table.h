// Routes in rows.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace pyccl::sim {

/// The links of row i are links[ends[i - 1] .. ends[i]).
struct Table {
  std::vector<std::int64_t> ends;
  std::vector<int> links;

  std::span<const int> row(std::size_t i) const {
    const std::int64_t begin = i == 0 ? 0 : ends[i - 1];
    return {links.data() + begin, static_cast<std::size_t>(ends[i] - begin)};
  }
};

}  // namespace pyccl::sim
