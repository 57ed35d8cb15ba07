#include "server/dense.h"

#include <algorithm>
#include <cstring>

namespace pyccl::server {

DenseMemory::DenseMemory(char* base, std::int64_t count)
    : count_(count), guards_(reinterpret_cast<std::atomic<std::uint32_t>*>(base)),
      values_(reinterpret_cast<float*>(base + guards(count))) {}

std::int64_t DenseMemory::length(std::int64_t piece) const {
  return std::min(kPieceElements, count_ - piece * kPieceElements);
}

bool DenseMemory::read(std::int64_t piece, float* out) const {
  const std::uint32_t before = guard(piece).load(std::memory_order_acquire);
  if (before % 2 != 0) return false;
  std::memcpy(out, values_ + begin(piece), static_cast<std::size_t>(length(piece)) * 4);
  std::atomic_thread_fence(std::memory_order_acquire);
  return guard(piece).load(std::memory_order_relaxed) == before;
}

DenseStorage::DenseStorage(DenseMemory memory, const kernels::Optimizer& optimizer, int clients)
    : memory_(memory), optimizer_(optimizer), held_(static_cast<std::size_t>(clients)) {
  const auto count = static_cast<std::size_t>(memory.count());
  state_.assign(static_cast<std::size_t>(kernels::slots(optimizer.method)), std::vector<float>(count));
  steps_.assign(static_cast<std::size_t>(DenseMemory::pieces(memory.count())), 0);
}

bool DenseStorage::accepts(const Record& r) const {
  const std::int64_t pieces = DenseMemory::pieces(memory_.count());
  return r.pieces == pieces && r.piece >= 0 && r.piece < pieces && r.count == memory_.length(r.piece) &&
         r.wire == DataType::F32;
}

void DenseStorage::update(std::int64_t begin, std::int64_t count, const float* gradient, float scale) {
  float* state[8];
  for (std::size_t slot = 0; slot < state_.size(); ++slot) state[slot] = state_[slot].data() + begin;
  const std::int64_t first = begin / kPieceElements, last = (begin + count + kPieceElements - 1) / kPieceElements;
  // Odd before the first byte changes, even after the last one has.
  for (std::int64_t piece = first; piece < last; ++piece) {
    const std::uint32_t guard = memory_.guard(piece).load(std::memory_order_relaxed);
    memory_.guard(piece).store(guard + 1, std::memory_order_relaxed);
  }
  std::atomic_thread_fence(std::memory_order_release);
  const std::int64_t step = ++steps_[static_cast<std::size_t>(first)];
  kernels::update(optimizer_, memory_.values() + begin, state, gradient, count, scale, step);
  for (std::int64_t piece = first; piece < last; ++piece) memory_.guard(piece).fetch_add(1, std::memory_order_release);
}

void DenseStorage::apply(const Record& piece, const char* payload, float scale) {
  update(memory_.begin(piece.piece), piece.count, reinterpret_cast<const float*>(payload), scale);
}

void DenseStorage::hold(const Record& piece) {
  auto& held = held_[static_cast<std::size_t>(piece.client)];
  held.resize(static_cast<std::size_t>(memory_.count()));
  std::memcpy(held.data() + memory_.begin(piece.piece), piece.payload(), static_cast<std::size_t>(piece.count) * 4);
}

void DenseStorage::add(int client, float weight) {
  const auto& held = held_[static_cast<std::size_t>(client)];
  sum_.resize(held.size());
  for (std::size_t i = 0; i < held.size(); ++i) sum_[i] += weight * held[i];
}

void DenseStorage::commit(float scale) {
  const std::int64_t stride =
      kernels::whole(optimizer_.method) ? std::max<std::int64_t>(1, memory_.count()) : kPieceElements;
  for (std::int64_t begin = 0; begin < memory_.count(); begin += stride)
    update(begin, std::min(stride, memory_.count() - begin), sum_.data() + begin, scale);
  std::fill(sum_.begin(), sum_.end(), 0.0F);
}

std::int64_t DenseStorage::bytes() const {
  std::int64_t floats = static_cast<std::int64_t>(sum_.size());
  for (const auto& slot : state_) floats += static_cast<std::int64_t>(slot.size());
  for (const auto& held : held_) floats += static_cast<std::int64_t>(held.size());
  return DenseMemory::bytes(memory_.count()) + 4 * floats;
}

}  // namespace pyccl::server
