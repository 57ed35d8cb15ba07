#include "server/sparse_index.h"

#include <algorithm>

#include "server/hash.h"

namespace pyccl::server {
namespace {

constexpr std::uint32_t kFirstCapacity = 800;  // one page
constexpr std::size_t kHuge = 2 << 20;

// A hash's highest 4 bits choose the part, the next 8 are the tag, the lowest 32 the place.
std::uint8_t tag_of(std::uint64_t hash) {
  const auto tag = static_cast<std::uint8_t>(hash >> 52);
  return tag == 0 ? 1 : tag;
}

}  // namespace

std::uint32_t SparseIndex::Part::home(std::uint64_t hash) const {
  return share_of(static_cast<std::uint32_t>(hash), capacity);
}

std::uint32_t SparseIndex::Part::probe(std::uint32_t place, std::uint8_t tag) const {
  while (tags[place] != tag && tags[place] != 0) place = after(place);
  return place;
}

void SparseIndex::Part::put(std::uint64_t hash, std::uint32_t slot) {
  const std::uint32_t place = probe(home(hash), 0);
  tags[place] = tag_of(hash);
  slots[place] = slot;
  ++used;
}

SparseIndex::Part SparseIndex::make_part(std::uint32_t capacity) {
  const std::size_t slot_bytes = std::size_t{capacity} * sizeof(std::uint32_t), bytes = slot_bytes + capacity;
  Part part;
  part.memory = Pages(bytes, bytes >= kHuge);
  part.slots = part.memory.at<std::uint32_t>(0);
  part.tags = part.memory.at<std::uint8_t>(slot_bytes);
  part.capacity = capacity;
  return part;
}

SparseIndex::SparseIndex() {
  for (Part& part : parts_) part = make_part(kFirstCapacity);
}

void SparseIndex::grow(const RowStore& rows, Part& part) {
  if (part.capacity > UINT32_MAX / 3 * 2) throw std::bad_alloc();
  Part larger = make_part(part.capacity / 2 * 3);
  std::uint32_t batch[kBatch];
  int n = 0;
  const auto move = [&] {
    for (int i = 0; i < n; ++i) larger.put(index_hash(rows.header(batch[i]).id), batch[i]);
    n = 0;
  };
  for (std::uint32_t place = 0; place < part.capacity; ++place) {
    if (part.tags[place] == 0) continue;
    __builtin_prefetch(&rows.header(part.slots[place]));
    batch[n++] = part.slots[place];
    if (n == kBatch) move();
  }
  move();
  part = std::move(larger);
}

/// Where `id` is, or the empty entry where the search for it ends.
std::uint32_t SparseIndex::place_of(const RowStore& rows, std::int64_t id, std::uint64_t hash,
                                    std::uint32_t place) const {
  const Part& part = part_of(hash);
  const std::uint8_t tag = tag_of(hash);
  for (;; place = part.after(place)) {
    place = part.probe(place, tag);
    if (part.tags[place] == 0 || rows.header(part.slots[place]).id == id) return place;
  }
}

void SparseIndex::find(const RowStore& rows, const std::int64_t* ids, std::int64_t n, std::uint32_t* slots) const {
  std::uint64_t hashes[kBatch];
  std::uint32_t places[kBatch];
  for (std::int64_t begin = 0; begin < n; begin += kBatch) {
    const int count = static_cast<int>(std::min<std::int64_t>(kBatch, n - begin));
    for (int i = 0; i < count; ++i) {
      hashes[i] = index_hash(ids[begin + i]);
      const Part& part = part_of(hashes[i]);
      places[i] = part.home(hashes[i]);
      __builtin_prefetch(part.tags + places[i]);
      __builtin_prefetch(part.slots + places[i]);
    }
    for (int i = 0; i < count; ++i) {
      const Part& part = part_of(hashes[i]);
      places[i] = part.probe(places[i], tag_of(hashes[i]));
      if (part.tags[places[i]] != 0) __builtin_prefetch(&rows.header(part.slots[places[i]]));
    }
    for (int i = 0; i < count; ++i) {
      const Part& part = part_of(hashes[i]);
      const std::uint32_t place = place_of(rows, ids[begin + i], hashes[i], places[i]);
      slots[begin + i] = part.tags[place] == 0 ? RowStore::kNone : part.slots[place];
    }
  }
}

std::uint32_t SparseIndex::find(const RowStore& rows, std::int64_t id) const {
  std::uint32_t slot;
  find(rows, &id, 1, &slot);
  return slot;
}

void SparseIndex::insert(const RowStore& rows, std::int64_t id, std::uint32_t slot) {
  const std::uint64_t hash = index_hash(id);
  Part& part = parts_[hash >> 60];
  if (std::uint64_t{part.used} * 5 >= std::uint64_t{part.capacity} * 4) grow(rows, part);
  part.put(hash, slot);
}

// No tombstones: those after the hole that may stand nearer to their home move up.
void SparseIndex::erase(const RowStore& rows, std::int64_t id) {
  const std::uint64_t hash = index_hash(id);
  Part& part = parts_[hash >> 60];
  std::uint32_t hole = place_of(rows, id, hash, part.home(hash));
  const auto distance = [&](std::uint32_t from, std::uint32_t to) {
    return to >= from ? to - from : to + (part.capacity - from);
  };
  for (std::uint32_t place = part.after(hole); part.tags[place] != 0; place = part.after(place)) {
    const std::uint32_t home = part.home(index_hash(rows.header(part.slots[place]).id));
    if (distance(home, place) < distance(hole, place)) continue;
    part.tags[hole] = part.tags[place];
    part.slots[hole] = part.slots[place];
    hole = place;
  }
  part.tags[hole] = 0;
  --part.used;
}

std::int64_t SparseIndex::bytes() const {
  std::int64_t sum = 0;
  for (const Part& part : parts_) sum += static_cast<std::int64_t>(part.memory.bytes());
  return sum;
}

}  // namespace pyccl::server
