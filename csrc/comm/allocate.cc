// comm.empty(), and what it has in common with comm.register(): memory that all ranks of the node map.
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <system_error>

#include "comm/verdict.h"
#include "core/error.h"
#include "shm/layout.h"

namespace pyccl {
namespace {

/// Where a peer finds our memory; in the notice area until everybody has mapped it.
struct Offer {
  std::int64_t pid;
  std::int32_t fd;
  std::int64_t start;  // of the array in the file
};
static_assert(sizeof(Offer) <= kVerdictOffset);

}  // namespace

/// Throws on every rank if one has a `failure`.
void Communicator::confirm(Fingerprint mine, const std::string& failure, const Deadline& deadline) {
  mine.extent = failure.empty() ? 0 : setup_.rank + 1;
  const std::int64_t failed = setup_.size == 1 ? mine.extent : agree(mine, deadline).extent;
  if (failed == 0) return;
  const std::string what = mine.kind == kAllocate ? "comm.empty" : "comm.register";
  if (!failure.empty()) throw Refused(what + " failed on rank " + std::to_string(setup_.rank) + ": " + failure);
  throw Refused(what + " failed on rank " + std::to_string(failed - 1));
}

/// All ranks of the node map each other's file, in which the array begins at `start`.
void Communicator::share(Region& region, const shm::Descriptor& memory, std::int64_t start, const Fingerprint& mine,
                         const Deadline& deadline) {
  if (setup_.size == 1) return;
  const bool shares = node_ && memory.get() >= 0;
  if (shares) {
    const Offer offer{getpid(), memory.get(), start};
    std::memcpy(node_->notice(setup_.rank), &offer, sizeof offer);
  }
  if (node_) node_->set_operation(&mine, "");
  act_on(agree(mine, deadline), mine);
  std::string failure;
  try {
    for (int rank : shares ? node_->ranks() : std::vector<int>{}) {
      if (rank == setup_.rank) continue;
      Offer offer;
      std::memcpy(&offer, node_->notice(rank), sizeof offer);
      if (offer.start < 0 || offer.start >= shm::kHugePage) throw std::runtime_error("a peer's offer makes no sense");
      const std::int64_t mapped = std::max<std::int64_t>(offer.start + region.bytes, 1);
      const shm::Descriptor theirs = shm::open_memory(offer.pid, offer.fd, mapped);
      region.mappings.emplace_back(theirs.get(), mapped);
      region.bases[rank] = region.mappings.back().base() + offer.start;
    }
  } catch (const std::system_error& error) {
    // whose files are gone is about to be dead: that is the reason then
    if (error.code() == std::errc::no_such_file_or_directory || error.code() == std::errc::no_such_process)
      await_word();
    failure = error.what();
  } catch (const std::exception& error) {
    failure = error.what();
  }
  confirm(mine, failure, deadline);
}

std::shared_ptr<Region> Communicator::allocate(std::int64_t bytes, double timeout, std::uint64_t ticket) {
  auto region = std::make_shared<Region>();
  region->bytes = bytes;
  const std::int64_t mapped = std::max<std::int64_t>(bytes, 1);
  shm::Descriptor memory;
  std::string failure;
  try {
    memory = shm::create_memory(mapped);
    region->mappings.emplace_back(memory.get(), mapped);
    region->own = region->mappings.back().base();
    std::memset(region->own, 0, static_cast<std::size_t>(mapped));  // its owner touches it first
  } catch (const std::exception& error) {
    failure = error.what();
  }
  if (!failure.empty()) {
    refuse("comm.empty failed: " + failure, timeout, ticket);
    throw CommError("comm.empty: " + failure);
  }
  region->shared_begin = region->own;
  region->shared_end = region->own + bytes;
  guarded(timeout, ticket, [&](const Deadline& deadline) {
    region->bases.assign(static_cast<std::size_t>(setup_.size), nullptr);
    region->bases[setup_.rank] = region->own;
    Fingerprint mine;
    mine.kind = kAllocate;
    mine.count = bytes;
    mine.sequence = sequence_;
    share(*region, memory, 0, mine, deadline);
  });
  region->id = next_region_++;  // what has failed on all ranks has no number on any
  return region;
}

}  // namespace pyccl
