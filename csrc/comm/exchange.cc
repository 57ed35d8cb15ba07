#include "comm/exchange.h"

#include <sched.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "comm/remote_transfer.h"
#include "core/error.h"
#include "shm/mailbox.h"

namespace pyccl {
namespace {

constexpr double kLook = 0.05;      // seconds between two looks at signals, deadlines and peers
constexpr int kFreeRounds = 2000;   // about 10 us without a look at the clock
constexpr int kRemoteRounds = 200;  // a test of an MPI request is some 100 ns

std::string mismatch_text(int rank, const Envelope& sent, const Envelope& expected) {
  return "rank " + std::to_string(rank) + " disagrees with itself: it calls " + describe(sent, true, rank) + " and " +
         describe(expected, false, rank);
}

}  // namespace

void check_own_messages(const std::vector<MessageCall>& messages, int rank) {
  std::int64_t balance = 0;
  for (const MessageCall& m : messages) {
    if (m.peer == rank) balance += m.sends ? 1 : -1;
  }
  if (balance == 0) return;
  throw std::invalid_argument(
      "rank " + std::to_string(rank) +
      (balance > 0 ? " sends to itself what it does not receive" : " receives from itself what it does not send"));
}

bool Batch::add(const std::shared_ptr<Job>& job) {
  const std::lock_guard lock(mutex_);
  if (ended_) return false;
  jobs_.push_back(job);
  waiting_.fetch_add(1, std::memory_order_seq_cst);
  return true;
}

std::shared_ptr<Job> Batch::next() {
  if (!waiting()) return nullptr;
  const std::lock_guard lock(mutex_);
  auto job = std::move(jobs_.front());
  jobs_.pop_front();
  waiting_.fetch_sub(1, std::memory_order_seq_cst);
  return job;
}

bool Batch::end() {
  const std::lock_guard lock(mutex_);
  ended_ = jobs_.empty();
  return ended_;
}

void Batch::fail(const std::exception_ptr& error, const char* text, Flight& flight) {
  std::deque<std::shared_ptr<Job>> jobs;
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    jobs.swap(jobs_);
  }
  for (const auto& job : jobs) {
    for (const MessageCall& m : job->messages) flight.fail(m.ticket, text);
    job->work->complete(error);
  }
}

Exchange::Exchange(int rank, int size, shm::Node* node, Remote* remote, double timeout,
                   const std::function<void()>* poll, Flight& flight)
    : rank_(rank), node_(node), remote_(remote), timeout_(timeout), poll_(poll), flight_(flight),
      channels_(2 * static_cast<std::size_t>(size)) {}

Exchange::Channel& Exchange::channel(const MessageCall& message) {
  auto& slot = channels_[2 * static_cast<std::size_t>(message.peer) + (message.sends ? 1 : 0)];
  if (!slot) slot = std::make_unique<Channel>();
  return *slot;
}

std::unique_ptr<Transfer> Exchange::start(const MessageCall& m, std::uint32_t sequence) const {
  if (!on_node(m.peer)) return make_remote_transfer(m, rank_, sequence, *remote_);
  if (m.sends) return std::make_unique<shm::MailboxSend>(m, rank_, sequence, *node_);
  return std::make_unique<shm::MailboxReceive>(m, rank_, sequence, *node_);
}

void Exchange::admit(std::shared_ptr<Job> job) {
  Job& j = *job;
  jobs_.push_back(std::move(job));
  copy_own(j);
  for (const MessageCall& m : j.messages) {
    if (m.peer == rank_) continue;
    Channel& c = channel(m);
    if (c.queue.empty()) busy_.push_back(&c);
    flight_.begin(m.ticket, ++c.sequence);
    c.queue.push_back({start(m, c.sequence), &j, Deadline(m.timeout >= 0 ? m.timeout : timeout_, poll_)});
    remote_items_ += on_node(m.peer) ? 0 : 1;
    ++j.unfinished;
  }
  if (j.unfinished == 0) complete(j);
}

void Exchange::copy_own(Job& job) {
  auto sent = job.messages.begin();
  for (const MessageCall& m : job.messages) {
    if (m.peer != rank_ || m.sends) continue;
    sent = std::find_if(sent, job.messages.end(), [&](const MessageCall& s) { return s.peer == rank_ && s.sends; });
    const Envelope from = Envelope::of(*sent, 0), to = Envelope::of(m, 0);
    if (from.fits(to)) {
      if (from.bytes > 0) std::memmove(m.data, sent->data, static_cast<std::size_t>(from.bytes));
    } else if (job.mismatch.empty()) {
      job.mismatch = mismatch_text(rank_, from, to);
    }
    for (const MessageCall* side : {static_cast<const MessageCall*>(&*sent), &m}) {
      flight_.begin(side->ticket, 0);
      land(*side, from.fits(to) ? "" : job.mismatch);
    }
    ++sent;
  }
}

bool Exchange::advance() {
  bool moved = false;
  for (std::size_t i = 0; i < busy_.size();) {
    Channel& c = *busy_[i];
    moved = c.queue.front().transfer->advance() || moved;
    if (c.queue.front().transfer->done()) {
      settle(c.queue.front());
      c.queue.pop_front();
    }
    if (c.queue.empty()) {
      busy_[i] = busy_.back();
      busy_.pop_back();
    } else {
      ++i;
    }
  }
  return moved;
}

void Exchange::land(const MessageCall& message, const std::string& mismatch) const {
  if (mismatch.empty()) flight_.land(message.ticket);
  else flight_.fail(message.ticket, mismatch);
}

void Exchange::settle(Item& item) {
  ++settled_;
  land(item.transfer->message(), item.transfer->mismatch());
  remote_items_ -= on_node(item.transfer->peer()) ? 0 : 1;
  Job& job = *item.job;
  if (job.mismatch.empty()) job.mismatch = item.transfer->mismatch();
  if (--job.unfinished == 0) complete(job);
}

void Exchange::complete(Job& job) {
  if (job.work)
    job.work->complete(job.mismatch.empty() ? nullptr : std::make_exception_ptr(MismatchError(job.mismatch)));
  std::erase_if(jobs_, [&](const std::shared_ptr<Job>& j) { return j.get() == &job; });
}

void Exchange::run(Batch* batch) {
  Patience patience;
  for (;;) {
    while (auto job = batch ? batch->next() : nullptr) admit(std::move(job));
    if (busy_.empty()) {
      if (!batch || batch->end()) return;
    } else if (advance()) {
      patience = {};
    } else {
      wait(patience, batch);
    }
  }
}

void Exchange::abandon(const std::exception_ptr& error, const char* text) {
  for (const auto& c : channels_) {
    if (!c) continue;
    for (const Item& item : c->queue) land(item.transfer->message(), text);
    c->queue.clear();
  }
  busy_.clear();
  remote_items_ = 0;
  for (const auto& job : jobs_) {
    if (job->work) job->work->complete(error);
  }
  jobs_.clear();
}

/// One step of a wait: spin, then yield, then sleep. Only polling sees a message from another node, so sleeps are short
/// then.
void Exchange::wait(Patience& p, const Batch* batch) {
  ++p.rounds;
  double pause = kLook;
  if (remote_items_ > 0) {
    if (p.rounds < kRemoteRounds) {
      sched_yield();
      return;
    }
    pause = p.rounds < 10 * kRemoteRounds ? 1e-6 : 200e-6;
  } else {
    const shm::WaitPolicy& policy = node_->policy();
    if (!policy.crowded) {
      if (p.rounds < kFreeRounds) return;
      const double now = monotonic_seconds();
      if (p.since < 0) p.since = now;
      if (now - p.since < policy.spin) return;
    }
    if (p.yields++ < policy.yields) {
      sched_yield();
      return;
    }
  }
  sleep(pause, batch);
  const double now = monotonic_seconds();
  if (p.looked >= 0 && now - p.looked < kLook) return;
  p.looked = now;
  look_around();
}

void Exchange::sleep(double seconds, const Batch* batch) {
  if (!node_) {
    const timespec pause{0, static_cast<long>(seconds * 1e9)};
    nanosleep(&pause, nullptr);
    return;
  }
  shm::sleep(node_->bell(rank_), seconds, [&] { return advance() || (batch && batch->waiting()); });
}

void Exchange::look_around() {
  for (std::size_t i = 0; i < busy_.size(); ++i) check_peer(*busy_[i]->queue.front().transfer);
  try {
    if (poll_ && *poll_) (*poll_)();
  } catch (const PeerLost& error) {
    if (busy_.empty()) throw;
    throw PeerLost(error.what() + (" during " + busy_.front()->queue.front().transfer->describe()), error.rank);
  }
  if (!busy_.empty()) {
    stall_.look(settled_, [&](const std::string& time) {
      std::string text;
      for (const Channel* c : busy_) {
        const Transfer& t = *c->queue.front().transfer;
        text +=
            (text.empty() ? "" : "; ") + t.describe() + " has waited " + time + " for rank " + std::to_string(t.peer());
      }
      return text;
    });
  }
  for (const Channel* c : busy_) {
    for (const Item& item : c->queue) {
      if (item.deadline.remaining() <= 0) time_out(item);
    }
  }
}

/// The dead may have done their part before: look at the message once more.
void Exchange::check_peer(const Transfer& transfer) {
  const int peer = transfer.peer();
  if (!on_node(peer) || !node_->died(peer)) return;
  const std::string text = "rank " + std::to_string(peer) + " died before it finished " + transfer.describe();
  const Transfer* const before = &transfer;
  while (advance()) {}
  const bool pending = std::any_of(busy_.begin(), busy_.end(),
                                   [&](const Channel* c) { return c->queue.front().transfer.get() == before; });
  if (!pending) return;
  node_->break_off(shm::Cause::of(shm::Broken::PeerLost, {peer}, text));
  node_->outage().raise();
}

void Exchange::time_out(const Item& item) {
  const Transfer& t = *item.transfer;
  const std::string peer = std::to_string(t.peer());
  const std::string text = t.describe() + " timed out after " + format_seconds(item.deadline.seconds()) + ": rank " +
                           peer + (t.message().sends ? " has not received it" : " has not sent it");
  throw Timeout(text, {t.peer()});
}

}  // namespace pyccl
