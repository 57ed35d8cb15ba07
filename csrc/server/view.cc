#include "server/view.h"

#include <utility>

#include "server/crash.h"

namespace pyccl::server {
namespace {

constexpr std::int64_t kHead = 64;

/// Words of a slot: leader and time, who lives, and the lines with their lengths.
std::int64_t words(std::int64_t size, std::int64_t shards, std::int64_t copies) {
  return (3 + size + shards * (1 + copies) + 15) / 16 * 16;
}

}  // namespace

std::int64_t ViewBoard::bytes(int size, int shards, int replicas) {
  return kHead + 2 * size * words(size, shards, replicas + 1) * static_cast<std::int64_t>(sizeof(Word));
}

ViewBoard::ViewBoard(char* memory, View first, int rank, int replicas)
    : word_(reinterpret_cast<std::atomic<std::uint64_t>*>(memory)), slots_(reinterpret_cast<Word*>(memory + kHead)),
      first_(std::move(first)), own_(2 * static_cast<std::uint64_t>(rank)), copies_(replicas + 1) {}

ViewBoard::ViewBoard(const ViewBoard& other, int rank) : ViewBoard(other) {
  own_ = 2 * static_cast<std::uint64_t>(rank);
}

ViewBoard::Word* ViewBoard::slot(std::uint64_t word) const {
  const auto index = static_cast<std::int64_t>(word & ((std::uint64_t{1} << kSlotBits) - 1));
  return slots_ + index * words(std::ssize(first_.living), std::ssize(first_.lines), copies_);
}

View ViewBoard::read() const {
  for (;;) {
    const std::uint64_t word = word_->load(std::memory_order_acquire);
    if (word == 0) return first_;
    const Word* at = slot(word);
    const auto next = [&] { return at++->load(std::memory_order_relaxed); };
    View view = first_;
    view.term = term_of(word);
    view.leader = next();
    const auto high = static_cast<std::uint32_t>(next()), low = static_cast<std::uint32_t>(next());
    view.noticed = static_cast<std::int64_t>(std::uint64_t{high} << 32 | low);
    for (char& alive : view.living) alive = next() != 0;
    for (std::vector<int>& line : view.lines) {
      // A slot that is being written again may say anything; it is thrown away below.
      line.resize(static_cast<std::size_t>(next()) % (static_cast<std::size_t>(copies_) + 1));
      const Word* servers = std::exchange(at, at + copies_);
      for (int& server : line) server = (servers++)->load(std::memory_order_relaxed);
    }
    std::atomic_thread_fence(std::memory_order_acquire);
    if (word_->load(std::memory_order_relaxed) == word) return view;
  }
}

bool ViewBoard::publish(const View& next) {
  std::uint64_t word = word_->load(std::memory_order_acquire);
  if (next.term <= term_of(word)) return false;
  std::uint64_t made = std::uint64_t{next.term - 1} << kSlotBits | own_;
  if (word != 0 && slot(word) == slot(made)) ++made;  // what others may be reading stays as it is
  // Who reads any of what follows sees that its slot is no longer the view.
  std::atomic_thread_fence(std::memory_order_release);
  Word* at = slot(made);
  const auto put = [&](std::int64_t value) {
    at++->store(static_cast<std::int32_t>(value), std::memory_order_relaxed);
  };
  put(next.leader);
  put(next.noticed >> 32);
  put(next.noticed);
  for (const char alive : next.living) put(alive);
  for (const std::vector<int>& line : next.lines) {
    put(std::ssize(line));
    Word* servers = std::exchange(at, at + copies_);
    for (const int server : line) (servers++)->store(server, std::memory_order_relaxed);
  }
  pass(Point::Leading);
  return word_->compare_exchange_strong(word, made, std::memory_order_seq_cst);
}

}  // namespace pyccl::server
