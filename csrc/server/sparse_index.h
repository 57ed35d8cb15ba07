// From ids to the slots of their rows: open addressing, linear probing, 5 bytes an entry.
#pragma once

#include <array>
#include <cstdint>

#include "server/pages.h"
#include "server/row_store.h"

namespace pyccl::server {

/// An entry is a slot and a tag of 8 bits of the id's hash, so that few headers of other ids are looked at. The index
/// is in parts that grow one by one: growth never stops the table for long, nor needs the memory of two indexes.
class SparseIndex {
 public:
  SparseIndex();

  /// The slots of `n` ids, kNone for those that are not there. Hashes, index and headers of a batch are each fetched
  /// before the first of them is waited for.
  void find(const RowStore& rows, const std::int64_t* ids, std::int64_t n, std::uint32_t* slots) const;
  std::uint32_t find(const RowStore& rows, std::int64_t id) const;
  /// `id` is not there.
  void insert(const RowStore& rows, std::int64_t id, std::uint32_t slot);
  /// `id` is there, and its header, too.
  void erase(const RowStore& rows, std::int64_t id);
  std::int64_t bytes() const;

  static constexpr int kBatch = 32;

 private:
  struct Part {
    Pages memory;
    std::uint32_t* slots = nullptr;
    std::uint8_t* tags = nullptr;  // 0: the entry is empty
    std::uint32_t capacity = 0, used = 0;

    std::uint32_t home(std::uint64_t hash) const;
    std::uint32_t after(std::uint32_t place) const { return place + 1 == capacity ? 0 : place + 1; }
    /// The first entry from `place` on that has the tag or is empty.
    std::uint32_t probe(std::uint32_t place, std::uint8_t tag) const;
    void put(std::uint64_t hash, std::uint32_t slot);
  };
  static constexpr int kParts = 16;

  const Part& part_of(std::uint64_t hash) const { return parts_[hash >> 60]; }
  std::uint32_t place_of(const RowStore& rows, std::int64_t id, std::uint64_t hash, std::uint32_t place) const;
  static Part make_part(std::uint32_t capacity);
  static void grow(const RowStore& rows, Part& part);

  std::array<Part, kParts> parts_;
};

}  // namespace pyccl::server
