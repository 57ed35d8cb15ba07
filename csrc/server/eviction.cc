#include "server/eviction.h"

#include <algorithm>

namespace pyccl::server {
namespace {

constexpr int kDigit = 16;

std::uint64_t key_of(const Header& header, Eviction how) {
  const std::uint64_t count = how == Eviction::Lfu ? header.version : 0;
  return count << 32 | header.touch;
}

template <class Visit> void visit(const RowStore& rows, std::uint32_t now, Visit&& each) {
  for (std::uint32_t slot = 0; slot < rows.end(); ++slot) {
    const Header& header = rows.header(slot);
    if (header.id >= 0 && header.touch != now) each(slot, header);
  }
}

struct Threshold {
  std::uint64_t key;
  std::int64_t below;  // rows with a lower key
};

/// The key of the row of rank `count`, counted from 1: one digit of 16 bits a pass.
Threshold find_threshold(const RowStore& rows, Eviction how, std::int64_t count, std::uint32_t now) {
  Threshold found{0, 0};
  std::vector<std::int64_t> counts(1U << kDigit);
  for (int shift = how == Eviction::Lfu ? 48 : 16; shift >= 0; shift -= kDigit) {
    std::fill(counts.begin(), counts.end(), 0);
    visit(rows, now, [&](std::uint32_t, const Header& header) {
      const std::uint64_t key = key_of(header, how);
      const bool same = shift == 48 || key >> (shift + kDigit) == found.key >> (shift + kDigit);
      if (same) ++counts[key >> shift & 0xFFFF];
    });
    std::uint64_t digit = 0;
    while (found.below + counts[digit] < count) found.below += counts[digit++];
    found.key |= digit << shift;
  }
  return found;
}

}  // namespace

std::vector<std::uint32_t> choose_victims(const RowStore& rows, Eviction how, std::int64_t count, std::uint32_t now) {
  if (count == 0) return {};
  const Threshold last = find_threshold(rows, how, count, now);
  std::vector<std::uint32_t> victims, ties;
  victims.reserve(static_cast<std::size_t>(count));
  visit(rows, now, [&](std::uint32_t slot, const Header& header) {
    const std::uint64_t key = key_of(header, how);
    if (key < last.key) victims.push_back(slot);
    if (key == last.key) ties.push_back(slot);
  });
  const auto wanted = static_cast<std::ptrdiff_t>(count - last.below);
  const auto by_id = [&](std::uint32_t a, std::uint32_t b) { return rows.header(a).id < rows.header(b).id; };
  std::nth_element(ties.begin(), ties.begin() + wanted - 1, ties.end(), by_id);
  victims.insert(victims.end(), ties.begin(), ties.begin() + wanted);
  return victims;
}

}  // namespace pyccl::server
