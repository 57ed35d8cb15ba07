// A shard of a dense table.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "core/buffer.h"
#include "kernels/updates.h"
#include "server/storage.h"

namespace pyccl::server {

/// float32 parameters and their optimiser's state in shared memory. Of each piece a counter is odd while its server
/// writes it, so that others read without asking.
class DenseMemory {
 public:
  static std::int64_t pieces(std::int64_t count) { return (count + kPieceElements - 1) / kPieceElements; }
  static std::int64_t bytes(std::int64_t count, int slots) {
    return head(count) + (1 + slots) * round_up(count * 4, 64);
  }

  DenseMemory() = default;
  DenseMemory(char* base, std::int64_t count, int slots) : base_(base), count_(count), slots_(slots) {}

  std::int64_t count() const { return count_; }
  int slots() const { return slots_; }
  std::int64_t begin(std::int64_t piece) const { return piece * kPieceElements; }
  std::int64_t length(std::int64_t piece) const;
  /// The parameters, then the optimiser's state, slot by slot.
  float* column(int column) const {
    return reinterpret_cast<float*>(base_ + head(count_) + column * round_up(count_ * 4, 64));
  }
  /// How often each piece has been updated.
  std::int64_t& steps(std::int64_t piece) const { return reinterpret_cast<std::int64_t*>(base_)[piece]; }
  std::atomic<std::uint32_t>& guard(std::int64_t piece) const {
    return reinterpret_cast<std::atomic<std::uint32_t>*>(base_ + pieces(count_) * 8)[piece];
  }
  /// Copies a piece of a column, past the caches if asked to, and tells its steps; false if it was being written.
  bool read(std::int64_t piece, int column, float* out, bool stream, std::int64_t* steps = nullptr) const;

  /// Odd from its construction on, even after its end.
  class Writing {
   public:
    Writing(const DenseMemory& memory, std::int64_t first, std::int64_t last);
    ~Writing();
    Writing(const Writing&) = delete;
    Writing& operator=(const Writing&) = delete;

   private:
    const DenseMemory& memory_;
    std::int64_t first_, last_;
  };

 private:
  static std::int64_t head(std::int64_t count) { return round_up(pieces(count) * 12, 64); }
  char* base_ = nullptr;
  std::int64_t count_ = 0;
  int slots_ = 0;
};

/// DC-ASGD (Zheng et al. 2017): gradients are corrected for the way that parameters have gone since they were read.
struct Compensation {
  float lambda = 0;  // 0: none
  bool adaptive = false;
  double decay = 0.95;
  float epsilon = 1e-7F;
};

class DenseStorage final : public Storage {
 public:
  DenseStorage(DenseMemory memory, const kernels::Optimizer& optimizer, const Compensation& compensation, int clients,
               bool wide);

  void apply(const Record& piece, const char* payload, float scale) override;
  void mean(const std::vector<const void*>& sources, float* out, std::int64_t count) const override;
  void hold(const Record& piece) override;
  void discard(int) override {}
  void began(int client) override;
  void add(int client, double weight) override;
  void commit(double scale) override;
  void load(const Record& piece) override;
  void read(Record& request) override;
  bool accepts(const Record& record) const override;
  std::int64_t bytes() const override;
  void save(BytesOut& out) const override;
  void restore(BytesIn& in) override;
  std::int64_t part_bytes() const override { return kPieceElements * 4; }
  bool copy(std::int64_t& place, Record& load) const override;

 private:
  void update(std::int64_t begin, std::int64_t count, const float* gradient, float scale);

  DenseMemory memory_;
  kernels::Optimizer optimizer_;
  std::vector<std::vector<float>> held_;  // by client; made when first used
  std::vector<float> sum_;
  bool wide_;  // gradients are added up in double
  std::vector<double> wide_sum_;
  Compensation compensation_;
  std::vector<std::vector<float>> read_;  // the parameters when each client began
  std::vector<float> mean_square_, scratch_;
};

}  // namespace pyccl::server
