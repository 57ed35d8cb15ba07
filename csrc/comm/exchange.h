// Drives point-to-point messages: all that are under way progress together, in one thread, until each has ended.
#pragma once

#include <atomic>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "comm/flight.h"
#include "comm/work.h"
#include "engine/deadline.h"
#include "engine/stall.h"
#include "engine/transfer.h"
#include "engine/transport.h"
#include "shm/node.h"

namespace pyccl {

/// The messages of one call, and what comes of them.
struct Job {
  std::vector<MessageCall> messages;
  std::shared_ptr<Work> work;  // told at the end; null when the caller waits in Exchange::run
  std::shared_ptr<void> keep;  // what must outlive the messages
  std::size_t unfinished = 0;
  std::string mismatch;  // of the first message that did not match, empty if all did
};

/// Throws std::invalid_argument unless what a rank sends to itself is what it receives from itself, in order.
void check_own_messages(const std::vector<MessageCall>& messages, int rank);

/// Asynchronous messages issued in a row: one joins those under way, so that a receive cannot block the send behind it.
class Batch {
 public:
  /// False once the batch has ended.
  bool add(const std::shared_ptr<Job>& job);
  std::shared_ptr<Job> next();
  bool waiting() const { return waiting_.load(std::memory_order_seq_cst) > 0; }
  /// Ends the batch unless a job waits.
  bool end();
  /// Ends it and fails what waits, in the record as well.
  void fail(const std::exception_ptr& error, const char* text, Flight& flight);

 private:
  std::mutex mutex_;
  std::deque<std::shared_ptr<Job>> jobs_;
  std::atomic<int> waiting_{0};
  bool ended_ = false;
};

class Exchange {
 public:
  Exchange(int rank, int size, shm::Node* node, Remote* remote, double timeout, const std::function<void()>* poll,
           Flight& flight);

  Stall& stall() { return stall_; }

  /// Starts a job behind the earlier messages of each pair.
  void admit(std::shared_ptr<Job> job);
  /// Returns when all that was admitted, and all that came with the batch, has ended. What it throws is fatal.
  void run(Batch* batch);
  /// Forgets everything after `run` has thrown.
  void abandon(const std::exception_ptr& error, const char* text);

 private:
  struct Item {
    std::unique_ptr<Transfer> transfer;
    Job* job;
    Deadline deadline;
  };
  /// The messages of one direction between this rank and one other.
  struct Channel {
    std::deque<Item> queue;
    std::uint32_t sequence = 0;
  };
  struct Patience {
    int rounds = 0;
    int yields = 0;
    double since = -1;
    double looked = -1;
  };

  Channel& channel(const MessageCall& message);
  bool on_node(int peer) const { return node_ && node_->has(peer); }
  std::unique_ptr<Transfer> start(const MessageCall& message, std::uint32_t sequence) const;
  void copy_own(Job& job);
  bool advance();
  void settle(Item& item);
  void complete(Job& job);
  /// An empty `mismatch` is a good end.
  void land(const MessageCall& message, const std::string& mismatch) const;
  void wait(Patience& patience, const Batch* batch);
  void sleep(double seconds, const Batch* batch);
  void look_around();
  void check_peer(const Transfer& transfer);
  [[noreturn]] void time_out(const Item& item);

  const int rank_;
  shm::Node* const node_;
  Remote* const remote_;
  const double timeout_;
  const std::function<void()>* const poll_;
  Flight& flight_;
  std::vector<std::unique_ptr<Channel>> channels_;  // 2 * peer + (1 for sends); made when first used
  std::vector<Channel*> busy_;
  std::vector<std::shared_ptr<Job>> jobs_;
  int remote_items_ = 0;
  Stall stall_;
  std::uint64_t settled_ = 0;
};

}  // namespace pyccl
