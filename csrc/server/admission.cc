#include "server/admission.h"

#include <algorithm>
#include <stdexcept>

#include "core/random.h"
#include "server/hash.h"

namespace pyccl::server {
namespace {

constexpr std::uint32_t kLine = 32;  // counters of a cache line

}  // namespace

Admission::Admission(const AdmissionSetting& setting, std::uint64_t table)
    : after_(setting.after), probability_(setting.probability), table_(mix(table)) {
  if (after_ < 1 || after_ > kMostAfter) throw std::invalid_argument("admission: after is from 1 to 65535");
  if (!(probability_ > 0 && probability_ <= 1))
    throw std::invalid_argument("admission: probability is above 0, up to 1");
  if (setting.counters < kLine || setting.counters > kMostCounters)
    throw std::invalid_argument("admission: counters are from 32 to 2^34");
  if (after_ > 1) counts_.resize(static_cast<std::size_t>(setting.counters) / kLine * kLine);
}

bool Admission::admit(std::int64_t id, std::int64_t time) {
  if (after_ > 1 && count(id) < after_) return false;
  if (probability_ >= 1) return true;
  const auto word = [](std::int64_t value, int shift) {
    return static_cast<std::uint32_t>(static_cast<std::uint64_t>(value) >> shift);
  };
  const Block draw = philox({word(id, 0), word(id, 32), word(time, 0), word(time, 32)}, table_);
  return static_cast<double>(draw[0]) < probability_ * 0x1p32;
}

std::int64_t Admission::count(std::int64_t id) {
  const auto lines = static_cast<std::uint32_t>(counts_.size() / kLine);
  const std::uint64_t hash = count_hash(id);
  std::uint16_t* line = counts_.data() + std::size_t{share_of(static_cast<std::uint32_t>(hash >> 32), lines)} * kLine;
  std::uint16_t* mine[4];
  for (int i = 0; i < 4; ++i) mine[i] = line + (hash >> (5 * i)) % kLine;
  std::uint16_t least = UINT16_MAX;
  for (const std::uint16_t* counter : mine) least = std::min(least, *counter);
  if (least < UINT16_MAX) {
    for (std::uint16_t* counter : mine) *counter = std::max<std::uint16_t>(*counter, least + 1);
  }
  if (++additions_ >= static_cast<std::int64_t>(counts_.size()) * after_ / 16) {
    for (std::uint16_t& counter : counts_) counter /= 2;
    additions_ = 0;
  }
  return std::int64_t{least} + 1;
}

}  // namespace pyccl::server
