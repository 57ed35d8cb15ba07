// A shard of a table: its rule says what becomes of gradients, its storage does it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "policy/rule.h"
#include "server/storage.h"

namespace pyccl::server {

/// How gradients flow: applied as they come, each an iteration; as they come, any number to an iteration, which Clock
/// ends; all clients' at once, as their mean; or kept until the rule makes a version of them.
enum class Flow : std::uint8_t { Immediate, Clocked, Averaged, Buffered };

class Table {
 public:
  /// `mean`: a version is the mean of its gradients, by their weights, however many they are.
  Table(Flow flow, bool mean, std::unique_ptr<policy::Rule> rule, std::unique_ptr<Storage> storage);

  Flow flow() const { return flow_; }
  Storage& storage() const { return *storage_; }
  const policy::Rule& rule() const { return *rule_; }

  /// Whether the client may begin; asks the rule once.
  bool open(int client);
  /// Returns the version that the client reads. It must be open to it, unless the client is at work.
  std::int64_t begin(int client);
  /// A piece of a gradient, or rows; the last one's fate and staleness are written into the record.
  void push(Record& piece);
  /// The mean of `clients`' piece.
  void push_mean(const Record& step, const char* mean, const std::vector<int>& clients);
  /// Ends the client's iteration on a clocked table. It must be open, unless the client is at work.
  void clock(int client);
  void leave(int client);
  bool gone(int client) const { return at(client) == State::Gone; }

  /// All but the storage, for a new replica.
  void save(BytesOut& out) const;
  void restore(BytesIn& in);

  /// How often a gradient had that staleness; the last entry counts all greater ones.
  const std::vector<std::int64_t>& staleness() const { return staleness_; }
  std::int64_t applied() const { return applied_; }
  std::int64_t dropped() const { return dropped_; }

 private:
  enum class State : std::uint8_t { Idle, Waiting, Granted, Working, Gone };
  State at(int client) const { return states_[static_cast<std::size_t>(client)]; }
  State& at(int client) { return states_[static_cast<std::size_t>(client)]; }
  policy::Verdict judge(int client);
  void settle();

  Flow flow_;
  bool mean_;
  double added_ = 0;  // weights since the last version
  std::unique_ptr<policy::Rule> rule_;
  std::unique_ptr<Storage> storage_;
  std::vector<State> states_;
  std::vector<std::int64_t> read_;         // version, by client
  std::vector<policy::Verdict> verdicts_;  // on the gradient whose pieces come, by client
  std::vector<std::int64_t> staleness_;
  std::int64_t made_ = 0;  // versions committed
  std::int64_t applied_ = 0, dropped_ = 0;
};

}  // namespace pyccl::server
