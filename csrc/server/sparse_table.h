// Rows by id: made on first touch, updated by an optimiser, admitted and evicted by rules.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "kernels/updates.h"
#include "server/admission.h"
#include "server/eviction.h"
#include "server/initializer.h"
#include "server/row_store.h"
#include "server/sparse_index.h"

namespace pyccl::server {

struct SparseSetting {
  std::int64_t dim = 0;
  std::uint64_t table = 0;  // what the rows' first values depend on, beside seed and id
  kernels::Optimizer optimizer;
  Initializer initializer;
  AdmissionSetting admission;
  bool shared = false;        // ids without a row push to and pull from one out-of-vocabulary row
  std::int64_t max_rows = 0;  // 0: no limit
  Eviction eviction = Eviction::Lru;
  std::int64_t epochs = 0;  // rows untouched for so many clocks go; 0: they stay
};

struct SparseCounts {
  std::int64_t created = 0, evicted = 0;
  std::int64_t refused = 0;  // rows pushed to ids that have no row
};

/// Rows with all that belongs to them, in columns; `values` holds dim * (1 + slots) numbers a row.
struct SparseRows {
  std::vector<std::int64_t> ids;
  std::vector<float> values;
  std::vector<std::int64_t> versions, touches;
};

/// A deterministic state machine: its time is the number of pushes and of clocks, so tables that are given the same
/// calls hold the same bits. One thread at a time; pulls may run beside each other.
class SparseTable {
 public:
  static constexpr std::int64_t kMostDim = 1 << 24, kMostEpochs = 1 << 20;

  explicit SparseTable(const SparseSetting& setting);

  /// Updates the rows of `n` ids, each of which occurs once; makes those that are admitted. Nothing is done if an id is
  /// below 0 (std::invalid_argument).
  void push(const std::int64_t* ids, const float* rows, std::int64_t n, float scale);
  /// An id without a row gives the shared row if there is one, else what its row would begin with. Changes nothing.
  void pull(const std::int64_t* ids, std::int64_t n, float* out) const;
  /// 0 for ids that have no row.
  void versions(const std::int64_t* ids, std::int64_t n, std::int64_t* out) const;

  /// Ends a clock. Rows untouched for `epochs` clocks are evicted at every clock that epochs / 8 divides.
  void tick();
  /// Evicts them now. Returns how many.
  std::int64_t evict();

  /// Rows of the slots from `begin` on, `limit` slots at most; returns the next `begin`, or -1 at the end. A row that
  /// lives all along is seen once, whatever is pushed between two calls.
  std::int64_t export_rows(std::int64_t begin, std::int64_t limit, SparseRows& out) const;
  /// Makes or overwrites rows. Throws std::invalid_argument, with nothing done, if columns do not fit the table.
  void import_rows(const std::int64_t* ids, const float* values, const std::int64_t* versions,
                   const std::int64_t* touches, std::int64_t n);
  /// All that is not rows: time, counts, the shared row, the sketch of admission.
  std::vector<std::uint8_t> export_state() const;
  void import_state(const std::uint8_t* bytes, std::int64_t n);

  const SparseSetting& setting() const { return setting_; }
  std::int64_t rows() const { return store_.rows(); }
  std::int64_t clock() const { return clock_; }
  std::int64_t time() const { return now_; }
  /// Of rows, index and admission.
  std::int64_t bytes() const { return store_.bytes() + index_.bytes() + admission_.bytes(); }
  const SparseCounts& counts() const { return counts_; }
  /// float32 values of a row and its state.
  std::int64_t width() const { return store_.floats(); }

 private:
  void advance(std::int64_t now);
  std::uint32_t touch(std::int64_t time) const;
  void locate(const std::int64_t* ids, std::int64_t n);
  void make_room();
  void make_rows(const std::int64_t* ids);
  std::uint32_t make_row(std::int64_t id);
  void apply(const float* rows, std::int64_t n, float scale);
  void update(float* record, const float* row, float scale, std::int64_t step) const;
  void remove(std::uint32_t slot);

  SparseSetting setting_;
  int slots_;
  RowStore store_;
  SparseIndex index_;
  Admission admission_;
  std::vector<float> shared_;  // the out-of-vocabulary row and its state
  std::int64_t shared_version_ = 0;
  // Time is in pushes. Headers hold it from base_ on in 32 bits; what is older counts as base_.
  std::int64_t now_ = 0, base_ = 0, clock_ = 0;
  std::deque<std::int64_t> marks_;  // the time at each of the last clocks
  SparseCounts counts_;
  std::vector<std::uint32_t> found_;  // of a push: each id's slot
  std::vector<std::int64_t> new_;     // and the positions of those that are to be made
  std::int64_t touched_ = 0;          // and how many are there already
};

/// Throws std::invalid_argument that names the first id below 0.
void check_ids(const std::int64_t* ids, std::int64_t n);

}  // namespace pyccl::server
