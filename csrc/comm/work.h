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

class Work;

/// The errors of a communicator's operations, as far as nobody has seen them.
class Failures {
 public:
  void add(std::shared_ptr<Work> failed);
  /// The user has been told what is wrong.
  void seen() { seen_.store(true, std::memory_order_relaxed); }
  /// The first failure of which nothing has been told; then nothing more.
  std::exception_ptr take();
  /// In the child of a fork nobody completes what the parent has begun.
  void orphan() { orphaned_.store(true, std::memory_order_relaxed); }
  bool orphaned() const { return orphaned_.load(std::memory_order_relaxed); }

 private:
  std::mutex mutex_;
  std::shared_ptr<Work> first_;
  std::atomic<bool> seen_ = false, orphaned_ = false;
};

/// The outcome of one operation, set once.
class Work : public std::enable_shared_from_this<Work> {
 public:
  explicit Work(std::shared_ptr<Failures> failures = nullptr) : failures_(std::move(failures)) {}
  void complete(std::exception_ptr error);
  const Failures* failures() const { return failures_.get(); }
  bool done() const;
  /// False when `seconds` passed first (< 0: no limit).
  bool wait_for(double seconds);
  /// Throws the operation's error, if it had one.
  void rethrow() const;
  bool seen() const;
  std::exception_ptr error() const;

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  mutable bool seen_ = false;
  std::exception_ptr error_;
  const std::shared_ptr<Failures> failures_;
};

struct Job;
class Batch;

class Progress {
 public:
  explicit Progress(std::shared_ptr<Failures> failures) : failures_(std::move(failures)) {}
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
  /// Waits until nothing is queued or running; false when `seconds` passed first.
  bool drain(double seconds);

 private:
  void loop();
  std::shared_ptr<Work> push(std::function<void()> operation, std::shared_ptr<Batch> batch);
  const std::shared_ptr<Failures> failures_;
  mutable std::mutex mutex_;
  std::condition_variable wake_, idle_;
  std::deque<std::pair<std::function<void()>, std::shared_ptr<Work>>> queue_;
  std::shared_ptr<Batch> last_;  // the batch at the end of the queue, or the one that runs
  std::atomic<int> outstanding_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace pyccl
