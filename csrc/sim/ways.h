// Messages of many workers sorted into groups that share the network alike.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "sim/table.h"

namespace pyccl::sim {

/// A group's messages move at equal rates, whoever comes and goes: they load the links that may limit them alike.
struct Group {
  std::vector<int> links;
  std::vector<double> shares;                              // of a message's bytes, on each link
  double limit = std::numeric_limits<double>::infinity();  // bytes/s, of links that nobody else uses
};

struct Ways {
  std::vector<Group> groups;
  std::vector<std::uint32_t> up, down;             // group of each client's pushes and pulls
  std::vector<double> latency_up, latency_down;    // seconds of each client's farthest part
  std::vector<double> per_byte_up, per_byte_down;  // seconds that a byte takes when nobody else is there
};

/// The parts of a message, one for each server, move together. Links that carry one client's messages alone limit them
/// but are not shared; a link is left out where another is always at least as loaded by whatever crosses the first.
Ways find_ways(const Table& up, const Table& down, std::uint32_t servers, const std::vector<double>& capacity,
               const std::vector<double>& latency);

}  // namespace pyccl::sim
