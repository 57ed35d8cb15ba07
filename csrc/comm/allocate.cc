// comm.empty(): memory that all ranks of the node map.
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "comm/verdict.h"
#include "core/error.h"

namespace pyccl {
namespace {

/// Where a peer finds our memory; in the notice area until everybody has mapped it.
struct Offer {
  std::int64_t pid;
  std::int32_t fd;
};

}  // namespace

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
  guarded(timeout, ticket, [&](const Deadline& deadline) {
    region->bases.assign(static_cast<std::size_t>(setup_.size), nullptr);
    region->bases[setup_.rank] = region->own;
    if (setup_.size == 1) return;
    Fingerprint mine;
    mine.kind = kAllocate;
    mine.count = bytes;
    mine.sequence = sequence_;
    if (node_) {
      const Offer offer{getpid(), memory.get()};
      std::memcpy(node_->notice(setup_.rank), &offer, sizeof offer);
    }
    act_on(agree(mine, deadline), mine);
    if (node_) {
      try {
        for (int rank : node_->ranks()) {
          if (rank == setup_.rank) continue;
          Offer offer;
          std::memcpy(&offer, node_->notice(rank), sizeof offer);
          const shm::Descriptor theirs = shm::open_memory(offer.pid, offer.fd, mapped);
          region->mappings.emplace_back(theirs.get(), mapped);
          region->bases[rank] = region->mappings.back().base();
        }
      } catch (const std::exception& error) {
        failure = error.what();
      }
    }
    mine.extent = failure.empty() ? 0 : 1;
    if (agree(mine, deadline).extent != 0)
      throw Refused("comm.empty: a rank could not map its peers' memory " + failure);
  });
  region->id = next_region_++;  // what has failed on all ranks has no number on any
  return region;
}

}  // namespace pyccl
