// What a table keeps, and how gradients get there.
#pragma once

#include <vector>

#include "core/bytes.h"
#include "server/record.h"

namespace pyccl::server {

/// Everything is deterministic: replicas that see the same calls hold the same bits.
class Storage {
 public:
  virtual ~Storage() = default;
  /// Applies a gradient, or a piece of one, now.
  virtual void apply(const Record& piece, const char* payload, float scale) = 0;
  /// The client reads the parameters as they are now.
  virtual void began(int) {}
  /// The mean of pieces of a dense table's gradients, in that order.
  virtual void mean(const std::vector<const void*>&, float*, std::int64_t) const {}
  /// Keeps a client's gradient until its fate is known.
  virtual void hold(const Record& piece) = 0;
  virtual void discard(int client) = 0;
  /// Adds what is held of a client to the next version.
  virtual void add(int client, double weight) = 0;
  /// Makes a version of what was added, times `scale`.
  virtual void commit(double scale) = 0;
  /// An iteration of all clients has passed.
  virtual void tick() {}
  /// Overwrites what a Load brings.
  virtual void load(const Record& record) = 0;
  /// Writes what a PullRows, a Read or an Export asks for into its payload.
  virtual void read(Record& request) = 0;
  /// Whether a record's payload fits this table.
  virtual bool accepts(const Record& record) const = 0;
  virtual std::int64_t bytes() const = 0;

  /// For a new replica: what is neither parameters nor rows; then those, part by part. `copy` writes the next Load from
  /// `place` on, 0 at first, and moves it on; false, and nothing written, at the end.
  virtual void save(BytesOut& out) const = 0;
  virtual void restore(BytesIn& in) = 0;
  virtual std::int64_t part_bytes() const = 0;
  virtual bool copy(std::int64_t& place, Record& load) const = 0;
  /// Of a sparse table.
  virtual std::int64_t rows() const { return 0; }
};

}  // namespace pyccl::server
