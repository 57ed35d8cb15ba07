#include "shm/outage.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "engine/deadline.h"

namespace pyccl::shm {

Cause Cause::of(Broken kind, const std::vector<int>& ranks, const std::string& text) {
  Cause c;
  c.kind = kind;
  c.count = static_cast<std::int32_t>(std::min<std::size_t>(ranks.size(), kNamed));
  std::copy_n(ranks.begin(), c.count, c.ranks);
  std::memcpy(c.text, text.data(), std::min<std::size_t>(text.size(), kText - 1));
  return c;
}

std::vector<int> Cause::named() const { return {ranks, ranks + std::clamp(count, 0, kNamed)}; }
std::string Cause::reason() const { return {text, strnlen(text, kText)}; }

bool Outage::set(const Cause& why) {
  std::uint32_t expected = 0;
  if (!state.compare_exchange_strong(expected, 1)) return false;
  cause = why;
  state.store(2, std::memory_order_release);
  return true;
}

Cause Outage::get() const {
  constexpr double kPatience = 1.0;  // its writer may have died over it
  for (const double end = monotonic_seconds() + kPatience; state.load(std::memory_order_acquire) == 1;) {
    if (monotonic_seconds() > end) return Cause::of(Broken::Error, {}, "a rank died while it said why");
  }
  return cause;
}

void Outage::raise() const {
  const Cause c = get();
  const std::vector<int> ranks = c.named();
  const int first = ranks.empty() ? -1 : ranks.front();
  const std::string text = c.reason(), who = "rank " + std::to_string(first);
  switch (c.kind) {
    case Broken::PeerLost: throw PeerLost(text, first);
    case Broken::Timeout: throw Timeout("the communicator is broken: " + text, ranks);
    case Broken::Aborted:
      throw PeerAborted("the communicator is broken: " + who + " aborted it: " + text, first, text, true);
    case Broken::Interrupted:
      throw PeerAborted("the communicator is broken: " + who + " was interrupted by " + text, first,
                        "interrupted by " + text, true);
    default: throw CommError("the communicator is broken: " + text);
  }
}

}  // namespace pyccl::shm
