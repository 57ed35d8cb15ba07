// comm.register(): private memory becomes registered where it lies.
#include <unistd.h>

#include <algorithm>
#include <stdexcept>
#include <system_error>

#include "comm/verdict.h"
#include "core/error.h"
#include "shm/layout.h"

namespace pyccl {
namespace {

char* next_page(char* p, std::uintptr_t page) {
  const auto address = reinterpret_cast<std::uintptr_t>(p);
  return p + (page - address % page) % page;
}

/// Where in its file an array begins. Like its address: the same pages can be huge in both mappings.
std::int64_t start_in_file(const Region& region, std::uintptr_t page) {
  const bool large = region.bytes >= shm::kHugePage;
  const std::uintptr_t unit = large ? static_cast<std::uintptr_t>(shm::kHugePage) : page;
  return static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(region.own) % unit);
}

}  // namespace

std::shared_ptr<Region> Communicator::adopt(void* data, std::int64_t bytes, std::string why, double timeout,
                                            std::uint64_t ticket) {
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  auto region = std::make_shared<Region>();
  region->adopted = true;
  region->bytes = bytes;
  region->own = static_cast<char*>(data);
  char *const end = region->own + bytes, *const first = next_page(region->own, page);
  char* const last = end - reinterpret_cast<std::uintptr_t>(end) % page;
  const bool whole = first < last;
  region->shared_begin = whole ? first : end;
  region->shared_end = whole ? last : end;
  try {
    if (why.empty()) shm::private_extents(region->shared_begin, region->shared_end);
  } catch (const std::invalid_argument& error) {
    why = std::string("x ") + error.what();
  }
  if (!why.empty()) {
    refuse("ValueError: " + why, timeout, ticket);
    throw std::invalid_argument(why);
  }
  region->bases.assign(static_cast<std::size_t>(setup_.size), nullptr);
  const std::int64_t start = start_in_file(*region, page);
  shm::Descriptor memory;
  if (node_ && !spans_nodes_) {  // elsewhere nobody would read it
    std::string failure;
    try {
      memory = shm::create_memory(std::max<std::int64_t>(start + bytes, 1));
      region->mappings.emplace_back(memory.get(), std::max<std::int64_t>(start + bytes, 1));
      region->bases[setup_.rank] = region->mappings.back().base() + start;
      shm::populate(region->bases[setup_.rank], bytes);
    } catch (const std::exception& error) {
      failure = error.what();
    }
    if (!failure.empty()) {
      refuse("comm.register failed: " + failure, timeout, ticket);
      throw CommError("comm.register: " + failure);
    }
  }
  guarded(timeout, ticket, [&](const Deadline& deadline) {
    Fingerprint mine;
    mine.kind = kRegister;
    mine.count = bytes;
    mine.sequence = sequence_;
    share(*region, memory, start, mine, deadline);
    if (!region->bases[setup_.rank]) return;
    std::string failure;
    try {
      const auto offset = region->shared_begin - region->own;
      region->moved.move(region->shared_begin, region->shared_end, memory.get(), start + offset,
                         region->bases[setup_.rank] + offset);
    } catch (const std::exception& error) {
      failure = error.what();
    }
    confirm(mine, failure, deadline);  // if it throws, the region goes and what has been moved is private again
  });
  region->id = next_region_++;
  return region;
}

void Communicator::release(Region& region) {
  const std::lock_guard lock(order_);
  region.retired = true;
  try {
    region.moved.restore();
  } catch (const std::system_error& error) {
    throw CommError(error.what());
  }
  region.mappings.clear();
}

}  // namespace pyccl
