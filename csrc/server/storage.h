// What a table keeps, and how gradients get there.
#pragma once

#include "server/record.h"

namespace pyccl::server {

/// Everything is deterministic: replicas that see the same calls hold the same bits.
class Storage {
 public:
  virtual ~Storage() = default;
  /// Applies a gradient, or a piece of one, now.
  virtual void apply(const Record& piece, const char* payload, float scale) = 0;
  /// Keeps a client's gradient until its fate is known.
  virtual void hold(const Record& piece) = 0;
  virtual void discard(int client) = 0;
  /// Adds what is held of a client to the next version.
  virtual void add(int client, float weight) = 0;
  /// Makes a version of what was added, times `scale`.
  virtual void commit(float scale) = 0;
  /// Overwrites what a Load brings.
  virtual void load(const Record& record) = 0;
  /// Writes the rows that a PullRows asks for behind its ids.
  virtual void read(Record& request) = 0;
  /// Whether a record's payload fits this table.
  virtual bool accepts(const Record& record) const = 0;
  virtual std::int64_t bytes() const = 0;
};

}  // namespace pyccl::server
