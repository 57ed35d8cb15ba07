// Sparse tables in and out: rows in chunks, and everything that is not rows as one string of bytes.
#include <cstring>
#include <stdexcept>
#include <string>

#include "server/sparse_table.h"

namespace pyccl::server {
namespace {

constexpr std::int64_t kMagic = 0x3130657372617073;  // "sparse01"

struct StateHead {
  std::int64_t magic = kMagic, now = 0, base = 0, clock = 0;
  SparseCounts counts;
  std::int64_t additions = 0, shared_version = 0;
  std::int64_t marks = 0, shared = 0, counters = 0;  // how many follow

  std::size_t bytes() const {
    return sizeof(StateHead) + static_cast<std::size_t>(marks) * sizeof(std::int64_t) +
           static_cast<std::size_t>(shared) * sizeof(float) +
           static_cast<std::size_t>(counters) * sizeof(std::uint16_t);
  }
};

template <class T> void put(std::uint8_t*& bytes, const T* values, std::size_t count) {
  if (count > 0) std::memcpy(bytes, values, count * sizeof(T));
  bytes += count * sizeof(T);
}

template <class T> void take(const std::uint8_t*& bytes, T* values, std::size_t count) {
  if (count > 0) std::memcpy(values, bytes, count * sizeof(T));
  bytes += count * sizeof(T);
}

void refuse(const char* what, std::int64_t at, std::int64_t value) {
  throw std::invalid_argument(std::string(what) + "[" + std::to_string(at) + "] is " + std::to_string(value) +
                              ", which no row has");
}

}  // namespace

std::int64_t SparseTable::export_rows(std::int64_t begin, std::int64_t limit, SparseRows& out) const {
  if (begin < 0 || limit < 1) throw std::invalid_argument("export: begin is from 0 on and limit from 1 on");
  out = {};
  const std::int64_t end = store_.end();
  const std::int64_t next = limit < end - begin ? begin + limit : end;
  for (std::int64_t at = begin; at < next; ++at) {
    const auto slot = static_cast<std::uint32_t>(at);
    const Header& header = store_.header(slot);
    if (header.id < 0) continue;
    out.ids.push_back(header.id);
    out.values.insert(out.values.end(), store_.record(slot), store_.record(slot) + width());
    out.versions.push_back(header.version);
    out.touches.push_back(base_ + header.touch);
  }
  return next >= end ? -1 : next;
}

void SparseTable::import_rows(const std::int64_t* ids, const float* values, const std::int64_t* versions,
                              const std::int64_t* touches, std::int64_t n) {
  check_ids(ids, n);
  std::int64_t latest = now_, made = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    if (versions[i] < 0 || versions[i] > UINT32_MAX) refuse("versions", i, versions[i]);
    if (touches[i] < 0) refuse("touches", i, touches[i]);
    latest = touches[i] > latest ? touches[i] : latest;
    if (index_.find(store_, ids[i]) == RowStore::kNone) ++made;
  }
  if (setting_.max_rows > 0 && rows() + made > setting_.max_rows)
    throw std::invalid_argument("import: " + std::to_string(rows() + made) + " rows are more than max_rows, " +
                                std::to_string(setting_.max_rows));
  advance(latest);
  for (std::int64_t i = 0; i < n; ++i) {
    std::uint32_t slot = index_.find(store_, ids[i]);
    if (slot == RowStore::kNone) slot = make_row(ids[i]);
    store_.header(slot).version = static_cast<std::uint32_t>(versions[i]);
    store_.header(slot).touch = touch(touches[i]);
    std::memcpy(store_.record(slot), values + i * width(), static_cast<std::size_t>(width()) * sizeof(float));
  }
}

std::vector<std::uint8_t> SparseTable::export_state() const {
  StateHead head;
  head.now = now_, head.base = base_, head.clock = clock_, head.counts = counts_;
  head.additions = admission_.additions(), head.shared_version = shared_version_;
  head.marks = static_cast<std::int64_t>(marks_.size());
  head.shared = static_cast<std::int64_t>(shared_.size());
  head.counters = static_cast<std::int64_t>(admission_.counts().size());
  std::vector<std::uint8_t> bytes(head.bytes());
  std::uint8_t* at = bytes.data();
  put(at, &head, 1);
  for (const std::int64_t mark : marks_) put(at, &mark, 1);
  put(at, shared_.data(), shared_.size());
  put(at, admission_.counts().data(), admission_.counts().size());
  return bytes;
}

void SparseTable::import_state(const std::uint8_t* bytes, std::int64_t n) {
  StateHead head;
  if (n < static_cast<std::int64_t>(sizeof head)) throw std::invalid_argument("state: it is cut off");
  take(bytes, &head, 1);
  const bool times = head.base >= 0 && head.now >= head.base && head.now - head.base <= UINT32_MAX && head.clock >= 0;
  if (head.magic != kMagic || !times || head.marks < 0 || head.marks > kMostEpochs + 1)
    throw std::invalid_argument("state: it is not one of a sparse table");
  if (head.shared != static_cast<std::int64_t>(shared_.size()) ||
      head.counters != static_cast<std::int64_t>(admission_.counts().size()) || head.marks > setting_.epochs + 1)
    throw std::invalid_argument("state: it is of a table with other settings");
  if (static_cast<std::int64_t>(head.bytes()) != n) throw std::invalid_argument("state: it is cut off, or too long");
  if (rows() > 0) throw std::invalid_argument("state: the table has rows already; import the state first");
  now_ = head.now, base_ = head.base, clock_ = head.clock, counts_ = head.counts;
  admission_.set_additions(head.additions);
  shared_version_ = head.shared_version;
  marks_.resize(static_cast<std::size_t>(head.marks));
  for (std::int64_t& mark : marks_) take(bytes, &mark, 1);
  take(bytes, shared_.data(), shared_.size());
  take(bytes, admission_.counts().data(), admission_.counts().size());
}

}  // namespace pyccl::server
