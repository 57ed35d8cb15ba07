// A shard of a sparse table.
#pragma once

#include <vector>

#include "server/sparse_table.h"
#include "server/storage.h"

namespace pyccl::server {

/// How rows lie in a record's payload, all of them behind the ids.
struct RowsLayout {
  /// Of what a push brings or a pull returns.
  static std::int64_t bytes(std::int64_t n, std::int64_t dim) { return n * (8 + 4 * dim); }
  /// Of rows with all that belongs to them: ids, versions, touches, values.
  static std::int64_t whole_bytes(std::int64_t n, std::int64_t width) { return n * (24 + 4 * width); }
};

class SparseStorage final : public Storage {
 public:
  SparseStorage(const SparseSetting& setting, int clients);

  void apply(const Record& piece, const char* payload, float scale) override;
  void hold(const Record& piece) override;
  void discard(int client) override;
  void add(int client, double weight) override;
  void commit(double scale) override;
  void tick() override { table_.tick(); }
  void load(const Record& record) override;
  void read(Record& request) override;
  bool accepts(const Record& record) const override;
  std::int64_t bytes() const override;
  std::int64_t rows() const override { return table_.rows(); }
  void save(BytesOut& out) const override;
  void restore(BytesIn& in) override;
  std::int64_t part_bytes() const override;
  bool copy(std::int64_t& place, Record& load) const override;

 private:
  struct Gradient {
    std::vector<std::int64_t> ids;
    std::vector<float> rows;
  };

  const float* rows_of(const Record& push, const char* payload);
  static void write(const SparseRows& rows, char* to);

  SparseTable table_;
  std::vector<Gradient> held_;  // by client
  Gradient sum_;                // of the next version; ids may occur several times
  std::vector<float> decoded_;
};

}  // namespace pyccl::server
