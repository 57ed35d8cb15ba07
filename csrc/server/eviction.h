// Which rows go first. An order of the rows alone, so that replicas evict the same ones wherever these lie.
#pragma once

#include <cstdint>
#include <vector>

#include "server/row_store.h"

namespace pyccl::server {

/// Lru: those whose last touch is oldest. Lfu: those with the fewest updates, among them the oldest. Ties go by id.
enum class Eviction : std::uint8_t { Lru, Lfu };

/// The slots of the `count` rows that go first, in any order; rows touched at `now` stay. There are that many. Takes a
/// few passes over all headers, and memory for the victims alone.
std::vector<std::uint32_t> choose_victims(const RowStore& rows, Eviction how, std::int64_t count, std::uint32_t now);

}  // namespace pyccl::server
