// How a rank learns who is gone: the kernel of its own node says so of processes, the kernels of others of links.
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "core/error.h"
#include "server/group.h"

namespace pyccl::server {
namespace {

constexpr char kFarewell = 'L';

}  // namespace

void Group::watch() {
  for (int rank = 0; rank < setup_.size; ++rank) {
    const auto i = static_cast<std::size_t>(rank);
    const auto pid = static_cast<pid_t>(setup_.pids[i]);
    if (!here(rank)) watched_.emplace_back(setup_.links[i]);
    else watched_.emplace_back(pid == getpid() ? -1 : static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  }
}

/// Takes in the end of a process, or of the link to it; true if that is new.
bool Group::note(int rank) {
  shm::Fate fate = shm::Fate::Lost, alive = shm::Fate::Alive;
  RankLine& line = lines_[rank];
  if (!here(rank)) {
    char word = 0;  // left where it is: several threads may look
    const ssize_t n = recv(watched_[static_cast<std::size_t>(rank)].get(), &word, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (n > 0) fate = shm::Fate::Left;
    else if (n < 0 && errno != ECONNRESET && errno != EPIPE && lives(rank)) line.silent = true;
  }
  return line.fate.compare_exchange_strong(alive, fate);
}

void Group::look() {
  bool news = false;
  {
    const std::lock_guard lock(watching_);
    std::vector<pollfd> all;
    for (int rank = 0; rank < static_cast<int>(watched_.size()); ++rank)  // poll skips negative ones
      all.push_back({lives(rank) ? watched_[static_cast<std::size_t>(rank)].get() : -1, POLLIN, 0});
    const bool any = ::poll(all.data(), all.size(), 0) > 0;
    for (std::size_t rank = 0; any && rank < all.size(); ++rank)
      news |= all[rank].revents != 0 && note(static_cast<int>(rank));
  }
  if (news) {
    news_->fetch_add(1, std::memory_order_release);
    wake_all();
  }
  if (cut_off()) {
    throw CommError("rank " + std::to_string(setup_.rank) +
                    " is cut off from the other nodes of the parameter server, "
                    "which count it as dead: the network has split");
  }
  lead();
}

/// Both sides of a network that splits see the other fall silent. The larger goes on, or that of the lowest rank;
/// nobody whom others do not hear. It is judged whenever another falls silent: who dies or leaves later is no reason to
/// stop.
bool Group::cut_off() {
  int living = 0, silent = 0, first_living = setup_.size, first_silent = setup_.size;
  for (int rank = setup_.size - 1; rank >= 0; --rank) {
    if (lives(rank)) ++living, first_living = rank;
    else if (lines_[rank].silent) ++silent, first_silent = rank;
  }
  if (silent > silent_judged_) {
    const bool smaller = silent > living || (silent == living && first_silent < first_living);
    if (smaller || own_line().silent) cut_off_ = true;
    silent_judged_ = silent;
  }
  return cut_off_;
}

void Group::miss(int rank) {
  shm::Fate alive = shm::Fate::Alive;
  if (!lives(rank)) return;
  lines_[rank].silent = true;
  if (!lines_[rank].fate.compare_exchange_strong(alive, shm::Fate::Lost)) return;
  news_->fetch_add(1, std::memory_order_release);
  wake_all();
}

void Group::end(shm::Fate fate) {
  own_line().fate.store(fate, std::memory_order_seq_cst);
  news_->fetch_add(1, std::memory_order_release);
  const std::lock_guard lock(watching_);
  for (int rank = 0; rank < static_cast<int>(watched_.size()); ++rank) {
    if (here(rank)) continue;
    const int link = watched_[static_cast<std::size_t>(rank)].get();
    // One byte fits the buffer of a link that has carried nothing.
    if (fate == shm::Fate::Left) static_cast<void>(!send(link, &kFarewell, 1, MSG_NOSIGNAL | MSG_DONTWAIT));
    shutdown(link, SHUT_WR);
  }
}

void Group::forget_links() { watched_.clear(); }

}  // namespace pyccl::server
