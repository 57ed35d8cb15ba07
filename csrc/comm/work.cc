#include "comm/work.h"

#include <chrono>
#include <utility>

#include "comm/exchange.h"

namespace pyccl {

void Failures::add(std::shared_ptr<Work> failed) {
  const std::lock_guard lock(mutex_);
  if (!first_ || first_->seen()) first_ = std::move(failed);
}

std::exception_ptr Failures::take() {
  const std::lock_guard lock(mutex_);
  const auto first = std::exchange(first_, nullptr);
  return !first || first->seen() || seen_ ? nullptr : first->error();
}

void Work::complete(std::exception_ptr error) {
  if (error && failures_) failures_->add(shared_from_this());
  const std::lock_guard lock(mutex_);
  error_ = std::move(error);
  done_ = true;
  changed_.notify_all();
}

bool Work::seen() const {
  const std::lock_guard lock(mutex_);
  return seen_;
}

std::exception_ptr Work::error() const {
  const std::lock_guard lock(mutex_);
  return error_;
}

bool Work::done() const {
  const std::lock_guard lock(mutex_);
  return done_;
}

bool Work::wait_for(double seconds) {
  std::unique_lock lock(mutex_);
  if (seconds < 0) {
    changed_.wait(lock, [&] { return done_; });
    return true;
  }
  return changed_.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return done_; });
}

void Work::rethrow() const {
  const std::lock_guard lock(mutex_);
  seen_ = true;
  if (error_) std::rethrow_exception(error_);
}

std::shared_ptr<Work> Progress::submit(std::function<void()> operation) { return push(std::move(operation), nullptr); }

void Progress::submit_batch(std::shared_ptr<Batch> batch, std::function<void()> operation) {
  push(std::move(operation), std::move(batch));
}

bool Progress::join(const std::shared_ptr<Job>& job) {
  const std::lock_guard lock(mutex_);
  return last_ && last_->add(job);
}

std::shared_ptr<Work> Progress::push(std::function<void()> operation, std::shared_ptr<Batch> batch) {
  auto work = std::make_shared<Work>(failures_);
  const std::lock_guard lock(mutex_);
  if (!thread_.joinable()) thread_ = std::thread([this] { loop(); });
  queue_.emplace_back(std::move(operation), work);
  last_ = std::move(batch);
  ++outstanding_;
  wake_.notify_one();
  return work;
}

void Progress::stop() {
  {
    const std::lock_guard lock(mutex_);
    if (!thread_.joinable()) return;
    stopping_ = true;
    wake_.notify_one();
  }
  thread_.join();
  stopping_ = false;
}

bool Progress::drain(double seconds) {
  std::unique_lock lock(mutex_);
  return idle_.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return !busy(); });
}

void Progress::loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    auto [operation, work] = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    std::exception_ptr error;
    try {
      operation();
    } catch (...) {
      error = std::current_exception();
    }
    operation = nullptr;
    --outstanding_;  // before the waiter goes on: its next operation need not queue
    work->complete(std::move(error));
    lock.lock();
    if (queue_.empty()) idle_.notify_all();
  }
}

}  // namespace pyccl
