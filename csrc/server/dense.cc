#include "server/dense.h"

#include <algorithm>
#include <cstring>

#include "kernels/kernels.h"

#ifdef __SANITIZE_THREAD__
extern "C" void AnnotateIgnoreReadsBegin(const char*, int);
extern "C" void AnnotateIgnoreReadsEnd(const char*, int);
#endif

namespace pyccl::server {
namespace {

/// A copy of what may be written meanwhile: the counter beside it tells. ThreadSanitizer is asked to look away.
void copy_racing(float* to, const float* from, std::int64_t count, bool stream) {
#ifdef __SANITIZE_THREAD__
  AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
#endif
  kernels::copy(to, from, count * 4, stream);
#ifdef __SANITIZE_THREAD__
  AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
#endif
}

}  // namespace

std::int64_t DenseMemory::length(std::int64_t piece) const {
  return std::min(kPieceElements, count_ - piece * kPieceElements);
}

bool DenseMemory::read(std::int64_t piece, int from, float* out, bool stream, std::int64_t* made) const {
  const std::uint32_t before = guard(piece).load(std::memory_order_acquire);
  if (before % 2 != 0) return false;
  copy_racing(out, column(from) + begin(piece), length(piece), stream);
  if (made != nullptr) *made = steps(piece);
  std::atomic_thread_fence(std::memory_order_acquire);
  return guard(piece).load(std::memory_order_relaxed) == before;
}

DenseMemory::Writing::Writing(const DenseMemory& memory, std::int64_t first, std::int64_t last)
    : memory_(memory), first_(first), last_(last) {
  for (std::int64_t piece = first; piece < last; ++piece) {
    const std::uint32_t guard = memory.guard(piece).load(std::memory_order_relaxed);
    memory.guard(piece).store(guard + 1, std::memory_order_relaxed);
  }
  std::atomic_thread_fence(std::memory_order_release);
}

DenseMemory::Writing::~Writing() {
  for (std::int64_t piece = first_; piece < last_; ++piece)
    memory_.guard(piece).fetch_add(1, std::memory_order_release);
}

DenseStorage::DenseStorage(DenseMemory memory, const kernels::Optimizer& optimizer, const Compensation& compensation,
                           int clients, bool wide)
    : memory_(memory), optimizer_(optimizer), held_(static_cast<std::size_t>(clients)), wide_(wide),
      compensation_(compensation), scratch_(kPieceElements) {
  if (compensation.lambda == 0) return;
  read_.assign(held_.size(), std::vector<float>(static_cast<std::size_t>(memory.count())));
  if (compensation.adaptive) mean_square_.assign(static_cast<std::size_t>(memory.count()), 0.0F);
}

void DenseStorage::began(int client) {
  if (read_.empty()) return;
  std::copy_n(memory_.column(0), memory_.count(), read_[static_cast<std::size_t>(client)].data());
}

bool DenseStorage::accepts(const Record& r) const {
  const std::int64_t pieces = DenseMemory::pieces(memory_.count());
  const bool fits = r.pieces == pieces && r.piece >= 0 && r.piece < pieces && r.count == memory_.length(r.piece);
  if (r.kind == Kind::Load || r.kind == Kind::Read)
    return fits && payload_room(r) >= r.count * 4 && r.column <= memory_.slots();
  return r.kind == Kind::Push && fits && holds(r, 0, r.count);
}

void DenseStorage::read(Record& request) {
  request.version = memory_.steps(request.piece);
  std::memcpy(request.payload(), memory_.column(request.column) + memory_.begin(request.piece),
              static_cast<std::size_t>(request.count) * 4);
}

void DenseStorage::update(std::int64_t begin, std::int64_t count, const float* gradient, float scale) {
  float* state[8];
  for (int slot = 0; slot < memory_.slots(); ++slot) state[slot] = memory_.column(1 + slot) + begin;
  const std::int64_t first = begin / kPieceElements, last = DenseMemory::pieces(begin + count);
  const DenseMemory::Writing writing(memory_, first, last);
  for (std::int64_t piece = first; piece < last; ++piece) ++memory_.steps(piece);
  kernels::update(optimizer_, memory_.column(0) + begin, state, gradient, count, scale, memory_.steps(first));
}

void DenseStorage::load(const Record& piece) {
  const DenseMemory::Writing writing(memory_, piece.piece, piece.piece + 1);
  memory_.steps(piece.piece) = piece.version;
  std::memcpy(memory_.column(piece.column) + memory_.begin(piece.piece), piece.payload(),
              static_cast<std::size_t>(piece.count) * 4);
}

void DenseStorage::apply(const Record& piece, const char* payload, float scale) {
  const auto* gradient = reinterpret_cast<const float*>(payload);
  if (piece.wire != kernels::Codec::Float32) {
    kernels::decode(piece.wire, scratch_.data(), payload, piece.count);
    gradient = scratch_.data();
  }
  const std::int64_t begin = memory_.begin(piece.piece);
  if (!read_.empty() && piece.kind == Kind::Push) {
    const float *now = memory_.column(0) + begin, *then = read_[static_cast<std::size_t>(piece.client)].data() + begin;
    const Compensation& c = compensation_;
    if (c.adaptive) {
      kernels::compensate_adaptive(scratch_.data(), gradient, now, then, mean_square_.data() + begin, c.lambda, c.decay,
                                   c.epsilon, piece.count);
    } else {
      kernels::compensate(scratch_.data(), gradient, now, then, c.lambda, piece.count);
    }
    gradient = scratch_.data();
  }
  update(begin, piece.count, gradient, scale);
}

void DenseStorage::mean(const std::vector<const void*>& sources, float* out, std::int64_t count) const {
  const auto n = static_cast<std::int64_t>(sources.size());
  if (!wide_) {
    void* to = out;
    kernels::reduce({DataType::F32, OpKind::Avg}, sources.data(), static_cast<int>(n), &to, 1, count, n);
    return;
  }
  constexpr std::int64_t kBlock = 512;
  for (std::int64_t begin = 0; begin < count; begin += kBlock) {
    const std::int64_t length = std::min(kBlock, count - begin);
    double sums[kBlock] = {};
    for (const void* source : sources) {
      const float* values = static_cast<const float*>(source) + begin;
      for (std::int64_t i = 0; i < length; ++i) sums[i] += values[i];
    }
    for (std::int64_t i = 0; i < length; ++i) out[begin + i] = static_cast<float>(sums[i] / static_cast<double>(n));
  }
}

void DenseStorage::hold(const Record& piece) {
  auto& held = held_[static_cast<std::size_t>(piece.client)];
  held.resize(static_cast<std::size_t>(memory_.count()));
  kernels::decode(piece.wire, held.data() + memory_.begin(piece.piece), piece.payload(), piece.count);
}

void DenseStorage::add(int client, double weight) {
  const auto& held = held_[static_cast<std::size_t>(client)];
  if (wide_) {
    wide_sum_.resize(held.size());
    for (std::size_t i = 0; i < held.size(); ++i) wide_sum_[i] += weight * held[i];
    return;
  }
  sum_.resize(held.size());
  const auto share = static_cast<float>(weight);
  for (std::size_t i = 0; i < held.size(); ++i) sum_[i] += share * held[i];
}

void DenseStorage::commit(double scale) {
  if (wide_) {
    sum_.resize(wide_sum_.size());
    for (std::size_t i = 0; i < sum_.size(); ++i) sum_[i] = static_cast<float>(wide_sum_[i] * scale);
    std::ranges::fill(wide_sum_, 0.0);
    scale = 1;
  }
  const std::int64_t stride =
      kernels::whole(optimizer_.method) ? std::max<std::int64_t>(1, memory_.count()) : kPieceElements;
  for (std::int64_t begin = 0; begin < memory_.count(); begin += stride)
    update(begin, std::min(stride, memory_.count() - begin), sum_.data() + begin, static_cast<float>(scale));
  std::fill(sum_.begin(), sum_.end(), 0.0F);
}

std::int64_t DenseStorage::bytes() const {
  std::int64_t floats = static_cast<std::int64_t>(sum_.size() + 2 * wide_sum_.size());
  for (const auto& held : held_) floats += static_cast<std::int64_t>(held.size());
  for (const auto& read : read_) floats += static_cast<std::int64_t>(read.size());
  floats += static_cast<std::int64_t>(mean_square_.size());
  return DenseMemory::bytes(memory_.count(), memory_.slots()) + 4 * floats;
}

void DenseStorage::save(BytesOut& out) const {
  for (const auto& held : held_) out.put(held);
  out.put(sum_);
  out.put(wide_sum_);
  for (const auto& read : read_) out.put(read);
  out.put(mean_square_);
}

void DenseStorage::restore(BytesIn& in) {
  for (auto& held : held_) in.get(held);
  in.get(sum_);
  in.get(wide_sum_);
  for (auto& read : read_) in.get(read);
  in.get(mean_square_);
}

bool DenseStorage::copy(std::int64_t& place, Record& load) const {
  const std::int64_t pieces = DenseMemory::pieces(memory_.count());
  if (place == pieces * (1 + memory_.slots())) return false;
  load.column = static_cast<std::uint8_t>(place / pieces);
  load.piece = static_cast<std::int32_t>(place % pieces);
  load.pieces = static_cast<std::int32_t>(pieces);
  load.count = static_cast<std::int32_t>(memory_.length(load.piece));
  load.version = memory_.steps(load.piece);
  std::memcpy(load.payload(), memory_.column(load.column) + memory_.begin(load.piece),
              static_cast<std::size_t>(load.count) * 4);
  ++place;
  return true;
}

}  // namespace pyccl::server
