// Who leads, who lives, and who holds which shard: decided by one rank, term by term, and the same for everybody.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace pyccl::server {

struct View {
  std::uint32_t term = 1;
  int leader = -1;           // the rank that has decided it; over several nodes, the lowest of those that may have
  std::int64_t noticed = 0;  // when that rank saw that the view before no longer held; monotonic nanoseconds
  std::vector<char> living;  // by rank
  /// By shard: the servers that hold it, or are to get a copy, its owner first. Empty: the shard is lost, for good.
  std::vector<std::vector<int>> lines;

  const std::vector<int>& line(int shard) const { return lines[static_cast<std::size_t>(shard)]; }
  int owner(int shard) const { return line(shard).empty() ? -1 : line(shard).front(); }
  bool lives(int rank) const { return living[static_cast<std::size_t>(rank)] != 0; }
};

/// Where the view lies, in memory that all ranks share. A rank writes into slots of its own, and then swaps one word,
/// which has the term and says whose slot it is: one that dies in between leaves the view that was, and of two that
/// decide at once only one succeeds.
class ViewBoard {
 public:
  static std::int64_t bytes(int size, int shards, int replicas);
  ViewBoard() = default;
  /// `memory` is zeroed, or another rank's board already. `first` is the same on every rank.
  ViewBoard(char* memory, View first, int rank, int replicas);

  /// The same board, for another rank of this process.
  ViewBoard(const ViewBoard& other, int rank);

  const View& first() const { return first_; }
  /// The only thing that anybody asks in every turn.
  std::uint32_t term() const { return term_of(word_->load(std::memory_order_acquire)); }
  View read() const;
  /// Makes `next` the view if its term is greater than the present one's; false if somebody else has been faster. By
  /// one thread of a rank at a time.
  bool publish(const View& next);

 private:
  using Word = std::atomic<std::int32_t>;
  static constexpr int kSlotBits = 24;
  static std::uint32_t term_of(std::uint64_t word) { return static_cast<std::uint32_t>(word >> kSlotBits) + 1; }
  Word* slot(std::uint64_t word) const;

  std::atomic<std::uint64_t>* word_ = nullptr;  // terms since the first one, and the slot; 0: the first view
  Word* slots_ = nullptr;
  View first_;
  std::uint64_t own_ = 0;  // the first of this rank's two slots
  int copies_ = 1;         // servers in a line, at most
};

}  // namespace pyccl::server
