#include "comm/registered.h"

#include <algorithm>

namespace pyccl {

void Regions::add(std::shared_ptr<Region> region) {
  regions_.push_back(std::move(region));
  ++generation_;
}

void Regions::remove(const Region* region) {
  ++generation_;
  std::erase_if(regions_, [&](const auto& r) { return r.get() == region; });
}

std::shared_ptr<Region> Regions::find(const void* data, std::int64_t bytes) const {
  const char* begin = static_cast<const char*>(data);
  for (const auto& r : regions_) {
    if (begin >= r->own && begin + bytes <= r->own + r->bytes) return r;
  }
  return nullptr;
}

}  // namespace pyccl
