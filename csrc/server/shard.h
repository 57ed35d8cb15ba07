// A part of all tables that one server owns and others copy: a deterministic machine that records drive.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "server/table.h"

namespace pyccl::server {

class Shard {
 public:
  explicit Shard(int clients) : done_(static_cast<std::size_t>(clients)), gone_(static_cast<std::size_t>(clients)) {}

  void add(int table, std::unique_ptr<Table> made) { tables_[table] = std::move(made); }
  /// Null if the shard has no part of it.
  Table* table(int number) const;
  const std::map<int, std::unique_ptr<Table>>& tables() const { return tables_; }

  /// The last of the client's requests that has been applied.
  std::uint64_t done(int client) const { return done_[static_cast<std::size_t>(client)]; }
  bool gone(int client) const { return gone_[static_cast<std::size_t>(client)] != 0; }
  /// Clients that have neither finished nor gone.
  std::vector<int> active() const;
  /// Changes applied.
  std::uint64_t log() const { return log_; }

  /// Whether a record of a client means something here.
  bool accepts(const Record& record) const;
  /// Whether a change that a replica hears of means something here.
  bool follows(const Record& change) const;
  /// Whether its turn has come. For the owner alone: it asks the rules.
  bool ready(const Record& record);
  /// Whether it is a piece of a gradient whose mean with all others' is applied.
  bool averaged(const Record& record) const;
  /// Applies a record and writes its answer. Those that only read change nothing else.
  void apply(Record& record);

  /// All but parameters and rows, for a new replica that has the same tables.
  void save(BytesOut& out) const;
  void restore(BytesIn& in);

 private:
  void step(const Record& record);

  std::map<int, std::unique_ptr<Table>> tables_;
  std::vector<std::uint64_t> done_;
  std::vector<char> gone_;
  std::uint64_t log_ = 0;
};

}  // namespace pyccl::server
