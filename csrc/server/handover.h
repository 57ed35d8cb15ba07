// The copy of a shard for a new replica. The shard stands still until all of it has been sent.
#pragma once

#include <cstdint>
#include <vector>

#include "server/outlet.h"
#include "server/shard.h"

namespace pyccl::server {

class Handover {
 public:
  /// `term`: of the view by which the copy is made.
  Handover(const Shard& shard, int number, int to, std::uint32_t term);

  int to() const { return to_; }
  /// Sends what there is room for; true once all has been.
  bool advance(Outlet& outlet);
  bool moved() const { return moved_; }

 private:
  Record* begin(Outlet& outlet, Kind kind, std::int64_t payload);

  const Shard& shard_;
  int number_, to_;
  std::uint32_t term_;
  std::vector<char> state_;
  std::size_t sent_ = 0;
  std::vector<int> tables_;
  std::size_t table_ = 0;
  std::int64_t place_ = 0;
  bool moved_ = false;
};

}  // namespace pyccl::server
