#include "comm/registered.h"

#include <algorithm>
#include <iterator>

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

bool Regions::overlaps(const void* data, std::int64_t bytes) const {
  const char* begin = static_cast<const char*>(data);
  return bytes > 0 && std::any_of(regions_.begin(), regions_.end(), [&](const auto& r) {
           return r->bytes > 0 && begin < r->own + r->bytes && r->own < begin + bytes;
         });
}

std::vector<std::shared_ptr<Region>> Regions::adopted(std::uint32_t id) const {
  std::vector<std::shared_ptr<Region>> found;
  std::copy_if(regions_.begin(), regions_.end(), std::back_inserter(found),
               [&](const auto& r) { return r->adopted && (id == 0 || r->id == id); });
  return found;
}

void append_edges(const Region& region, const void* data, std::int64_t bytes, bool written, int rank,
                  std::vector<Edge>& edges) {
  char *begin = region.own + (static_cast<const char*>(data) - region.own), *end = begin + bytes;
  const auto append = [&](char* first, char* last) {
    if (first >= last) return;
    edges.push_back(
        {first, region.bases[rank] + (first - region.own), static_cast<std::size_t>(last - first), written});
  };
  append(begin, std::min(end, region.shared_begin));
  append(std::max(begin, region.shared_end), end);
}

}  // namespace pyccl
