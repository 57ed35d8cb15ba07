#include "server/sparse_table.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

namespace pyccl::server {
namespace {

constexpr std::int64_t kAhead = 4;   // records fetched before they are updated
constexpr std::int64_t kShare = 16;  // of the limit: what is evicted at a time, at least
constexpr std::int64_t kHorizon = UINT32_MAX;

const SparseSetting& checked(const SparseSetting& s) {
  if (s.dim < 1 || s.dim > SparseTable::kMostDim)
    throw std::invalid_argument("dim must be from 1 to 2^24, got " + std::to_string(s.dim));
  if (s.max_rows < 0) throw std::invalid_argument("max_rows must not be negative, got " + std::to_string(s.max_rows));
  if (s.epochs < 0 || s.epochs > SparseTable::kMostEpochs)
    throw std::invalid_argument("epochs must be from 0 to 2^20, got " + std::to_string(s.epochs));
  return s;
}

}  // namespace

void check_ids(const std::int64_t* ids, std::int64_t n) {
  std::int64_t signs = 0;
  for (std::int64_t i = 0; i < n; ++i) signs |= ids[i];
  if (signs >= 0) return;
  const std::int64_t at = std::find_if(ids, ids + n, [](std::int64_t id) { return id < 0; }) - ids;
  throw std::invalid_argument("ids must not be negative, ids[" + std::to_string(at) + "] is " +
                              std::to_string(ids[at]));
}

SparseTable::SparseTable(const SparseSetting& setting)
    : setting_(checked(setting)), slots_(kernels::slots(setting.optimizer.method)), store_(setting.dim * (1 + slots_)),
      admission_(setting.admission, setting.table) {
  if (!setting.shared) return;
  shared_.resize(static_cast<std::size_t>(width()));
  setting_.initializer.fill(setting_.table, -1, shared_.data(), setting_.dim);
}

std::uint32_t SparseTable::touch(std::int64_t time) const {
  return static_cast<std::uint32_t>(std::max<std::int64_t>(time - base_, 0));
}

/// Sets the time; the 32 bits of the headers are moved along when it leaves them.
void SparseTable::advance(std::int64_t now) {
  now_ = now;
  if (now_ - base_ <= kHorizon) return;
  const std::int64_t by = now_ - base_ - kHorizon / 2;
  for (std::uint32_t slot = 0; slot < store_.end(); ++slot) {
    Header& header = store_.header(slot);
    header.touch = static_cast<std::uint32_t>(std::max<std::int64_t>(header.touch - by, 0));
  }
  base_ += by;
}

void SparseTable::push(const std::int64_t* ids, const float* rows, std::int64_t n, float scale) {
  check_ids(ids, n);
  advance(now_ + 1);
  locate(ids, n);
  make_room();
  make_rows(ids);
  apply(rows, n, scale);
}

/// Touches the rows that are there, which keeps them from being evicted to make room, and asks for those that are not.
void SparseTable::locate(const std::int64_t* ids, std::int64_t n) {
  found_.resize(static_cast<std::size_t>(n));
  index_.find(store_, ids, n, found_.data());
  new_.clear();
  touched_ = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint32_t slot = found_[static_cast<std::size_t>(i)];
    if (slot != RowStore::kNone) {
      store_.header(slot).touch = touch(now_);
      ++touched_;
    } else if (admission_.open() || admission_.admit(ids[i], now_)) {
      new_.push_back(i);
    }
  }
}

/// A push that has more ids than there is room for makes rows for the first of them.
void SparseTable::make_room() {
  if (setting_.max_rows == 0) return;
  const auto most = static_cast<std::size_t>(std::max<std::int64_t>(setting_.max_rows - touched_, 0));
  if (new_.size() > most) new_.resize(most);
  const std::int64_t excess = rows() + static_cast<std::int64_t>(new_.size()) - setting_.max_rows;
  if (excess <= 0) return;
  const std::int64_t count = std::min(std::max(excess, setting_.max_rows / kShare), rows() - touched_);
  for (const std::uint32_t slot : choose_victims(store_, setting_.eviction, count, touch(now_))) remove(slot);
}

void SparseTable::make_rows(const std::int64_t* ids) {
  for (const std::int64_t i : new_) {
    std::uint32_t slot = index_.find(store_, ids[i]);
    if (slot == RowStore::kNone) {
      slot = make_row(ids[i]);
      ++counts_.created;
      setting_.initializer.fill(setting_.table, ids[i], store_.record(slot), setting_.dim);
      std::fill_n(store_.record(slot) + setting_.dim, width() - setting_.dim, 0.0f);
    }
    found_[static_cast<std::size_t>(i)] = slot;
  }
}

std::uint32_t SparseTable::make_row(std::int64_t id) {
  const std::uint32_t slot = store_.allocate();
  store_.header(slot) = {id, 0, touch(now_)};
  index_.insert(store_, id, slot);
  return slot;
}

void SparseTable::apply(const float* rows, std::int64_t n, float scale) {
  const std::int64_t bytes = width() * static_cast<std::int64_t>(sizeof(float));
  for (std::int64_t i = 0; i < n; ++i) {
    if (i + kAhead < n && found_[static_cast<std::size_t>(i + kAhead)] != RowStore::kNone)
      prefetch(store_.record(found_[static_cast<std::size_t>(i + kAhead)]), bytes);
    const std::uint32_t slot = found_[static_cast<std::size_t>(i)];
    const float* row = rows + i * setting_.dim;
    if (slot != RowStore::kNone) {
      Header& header = store_.header(slot);
      if (header.version < UINT32_MAX) ++header.version;
      update(store_.record(slot), row, scale, header.version);
    } else {
      ++counts_.refused;
      if (!shared_.empty()) update(shared_.data(), row, scale, ++shared_version_);
    }
  }
}

void SparseTable::update(float* record, const float* row, float scale, std::int64_t step) const {
  constexpr int kMostSlots = 4;
  float* state[kMostSlots];
  for (int k = 0; k < slots_; ++k) state[k] = record + (1 + k) * setting_.dim;
  kernels::update(setting_.optimizer, record, state, row, setting_.dim, scale, step);
}

void SparseTable::pull(const std::int64_t* ids, std::int64_t n, float* out) const {
  check_ids(ids, n);
  const auto bytes = static_cast<std::size_t>(setting_.dim) * sizeof(float);
  std::uint32_t slots[2][SparseIndex::kBatch];
  const auto fetch = [&](std::int64_t begin, std::uint32_t* found) {
    const std::int64_t count = std::min<std::int64_t>(SparseIndex::kBatch, n - begin);
    index_.find(store_, ids + begin, count, found);
    for (std::int64_t i = 0; i < count; ++i)
      if (found[i] != RowStore::kNone) prefetch(store_.record(found[i]), static_cast<std::int64_t>(bytes));
    return count;
  };
  // A batch's records are on their way while those of the one before are copied.
  int turn = 0;
  std::int64_t count = n > 0 ? fetch(0, slots[0]) : 0;
  for (std::int64_t begin = 0; begin < n; turn ^= 1) {
    const std::int64_t next = begin + count;
    const std::int64_t coming = next < n ? fetch(next, slots[turn ^ 1]) : 0;
    for (std::int64_t i = begin; i < next; ++i) {
      const std::uint32_t slot = slots[turn][i - begin];
      float* to = out + i * setting_.dim;
      if (slot != RowStore::kNone) std::memcpy(to, store_.record(slot), bytes);
      else if (!shared_.empty()) std::memcpy(to, shared_.data(), bytes);
      else setting_.initializer.fill(setting_.table, ids[i], to, setting_.dim);
    }
    begin = next;
    count = coming;
  }
}

void SparseTable::versions(const std::int64_t* ids, std::int64_t n, std::int64_t* out) const {
  check_ids(ids, n);
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint32_t slot = index_.find(store_, ids[i]);
    out[i] = slot == RowStore::kNone ? 0 : store_.header(slot).version;
  }
}

void SparseTable::remove(std::uint32_t slot) {
  index_.erase(store_, store_.header(slot).id);
  store_.release(slot);
  ++counts_.evicted;
}

void SparseTable::tick() {
  ++clock_;
  if (setting_.epochs == 0) return;
  marks_.push_back(now_);
  while (static_cast<std::int64_t>(marks_.size()) > setting_.epochs + 1) marks_.pop_front();
  if (clock_ % std::max<std::int64_t>(setting_.epochs / 8, 1) == 0) evict();
}

std::int64_t SparseTable::evict() {
  // marks_ begins with the time of the clock `epochs` before this one, once there has been one
  if (setting_.epochs == 0 || static_cast<std::int64_t>(marks_.size()) <= setting_.epochs) return 0;
  const std::int64_t last = marks_.front(), before = rows();
  for (std::uint32_t slot = 0; slot < store_.end(); ++slot) {
    const Header& header = store_.header(slot);
    if (header.id >= 0 && base_ + header.touch <= last) remove(slot);
  }
  return before - rows();
}

}  // namespace pyccl::server
