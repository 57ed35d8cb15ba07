// A shard of a dense table.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "kernels/updates.h"
#include "server/storage.h"

namespace pyccl::server {

/// float32 parameters in shared memory. Of each piece a counter is odd while its server writes it, so that others read
/// without asking.
class DenseMemory {
 public:
  static std::int64_t pieces(std::int64_t count) { return (count + kPieceElements - 1) / kPieceElements; }
  static std::int64_t bytes(std::int64_t count) { return guards(count) + count * 4; }

  DenseMemory() = default;
  DenseMemory(char* base, std::int64_t count);

  std::int64_t count() const { return count_; }
  std::int64_t begin(std::int64_t piece) const { return piece * kPieceElements; }
  std::int64_t length(std::int64_t piece) const;
  float* values() const { return values_; }
  std::atomic<std::uint32_t>& guard(std::int64_t piece) const { return guards_[piece]; }
  /// Copies a piece; false if it was being written.
  bool read(std::int64_t piece, float* out) const;

 private:
  static std::int64_t guards(std::int64_t count) { return (pieces(count) * 4 + 63) / 64 * 64; }
  std::int64_t count_ = 0;
  std::atomic<std::uint32_t>* guards_ = nullptr;
  float* values_ = nullptr;
};

class DenseStorage final : public Storage {
 public:
  /// `memory` holds the initial parameters already.
  DenseStorage(DenseMemory memory, const kernels::Optimizer& optimizer, int clients);

  void apply(const Record& piece, const char* payload, float scale) override;
  void hold(const Record& piece) override;
  void discard(int) override {}
  void add(int client, float weight) override;
  void commit(float scale) override;
  void read(Record&) override {}
  bool accepts(const Record& record) const override;
  std::int64_t bytes() const override;

 private:
  void update(std::int64_t begin, std::int64_t count, const float* gradient, float scale);

  DenseMemory memory_;
  kernels::Optimizer optimizer_;
  std::vector<std::vector<float>> state_;  // by slot
  std::vector<std::vector<float>> held_;   // by client; made when first used
  std::vector<float> sum_, decoded_;
  std::vector<std::int64_t> steps_;  // by piece
};

}  // namespace pyccl::server
