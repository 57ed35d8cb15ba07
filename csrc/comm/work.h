// Asynchronous operations of one communicator: a queue and the one thread that runs it, started by the first of them.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

namespace pyccl {

/// The outcome of one operation, set once.
class Work {
 public:
  void complete(std::exception_ptr error);
  bool done() const;
  /// False when `seconds` passed first (< 0: no limit).
  bool wait_for(double seconds);
  /// Throws the operation's error, if it had one.
  void rethrow() const;

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  std::exception_ptr error_;
};

struct Job;
class Batch;

class Progress {
 public:
  ~Progress() { stop(); }
  std::shared_ptr<Work> submit(std::function<void()> operation);
  /// The same for messages, which those issued directly behind them may join.
  void submit_batch(std::shared_ptr<Batch> batch, std::function<void()> operation);
  /// Adds to the batch at the end of the queue; false if there is none, or it has ended.
  bool join(const std::shared_ptr<Job>& job);
  /// True while something is queued or running: later operations must queue, too, to keep the order.
  bool busy() const { return outstanding_.load(std::memory_order_acquire) != 0; }
  /// Lets the queue run dry and joins. An operation that hangs ends at its deadline.
  void stop();

 private:
  void loop();
  std::shared_ptr<Work> push(std::function<void()> operation, std::shared_ptr<Batch> batch);
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::pair<std::function<void()>, std::shared_ptr<Work>>> queue_;
  std::shared_ptr<Batch> last_;  // the batch at the end of the queue, or the one that runs
  std::atomic<int> outstanding_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace pyccl
