#include "comm/health.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace pyccl {

using shm::Broken;
using shm::Cause;
using shm::Fate;

/// What travels along a link. Of one length, so that a stream can be cut into them.
struct Health::Word {
  enum Kind : std::int32_t { Breaks, Leaves };
  std::uint32_t magic = kMagic;
  std::int32_t kind = Breaks;
  std::int32_t rank = -1;  // who leaves
  Cause cause;
  static constexpr std::uint32_t kMagic = 0x70796863;
};

Health::Health(int rank, std::vector<int> nodes, shm::Node* node, std::vector<Link> links)
    : rank_(rank), nodes_(std::move(nodes)), node_(node) {
  if (node_) {
    outage_ = &node_->outage();
    fates_ = node_->fates();
  } else {
    own_outage_ = std::make_unique<shm::Outage>();
    own_fates_ = std::make_unique<std::atomic<Fate>[]>(nodes_.size());
    outage_ = own_outage_.get();
    fates_ = own_fates_.get();
  }
  for (Link& link : links) peers_.push_back({std::move(link), {}});
  const bool listens = !node_ || node_->ranks().front() == rank_;
  if (peers_.empty() || !listens) return;
  stop_ = shm::Descriptor(eventfd(0, EFD_CLOEXEC));
  listener_ = std::thread([this] { listen(); });
}

bool Health::note(const Cause& why) {
  bool news = false;
  if (why.kind == Broken::PeerLost) {
    for (int rank : why.named()) {
      if (rank < 0 || rank >= static_cast<int>(nodes_.size())) continue;
      Fate alive = Fate::Alive;
      news |= fate(rank).compare_exchange_strong(alive, Fate::Lost);
    }
  }
  return (node_ ? node_->break_off(why) : outage_->set(why)) || news;
}

void Health::break_off(const Cause& why) {
  note(why);
  tell();
}

void Health::tell() {
  if (peers_.empty() || !broken()) return;
  Word word;
  word.cause = outage_->get();
  {
    const std::lock_guard lock(sending_);
    if (std::exchange(told_, true)) return;
  }
  send(word, -1);
}

void Health::send(const Word& word, int except) {
  const std::lock_guard lock(sending_);
  for (const Peer& peer : peers_) {
    if (peer.link.rank == except || peer.link.socket.get() < 0) continue;
    // a link so full that this does not fit has a peer that is past listening
    static_cast<void>(::send(peer.link.socket.get(), &word, sizeof word, MSG_NOSIGNAL | MSG_DONTWAIT));
  }
}

void Health::look() {
  if (broken()) raise();
  if (!node_) return;
  const std::vector<int> dead = node_->find_dead();
  if (dead.empty()) return;
  std::string names;
  for (int rank : dead) names += (names.empty() ? "" : ", ") + std::to_string(rank);
  node_->break_off(Cause::of(Broken::PeerLost, dead, "rank " + names + " died"));
  raise();
}

std::vector<int> Health::lost() {
  if (node_) node_->find_dead();
  std::vector<int> ranks;
  for (std::size_t r = 0; r < nodes_.size(); ++r) {
    if (fate(static_cast<int>(r)).load() == Fate::Lost) ranks.push_back(static_cast<int>(r));
  }
  return ranks;
}

void Health::leave() {
  if (std::exchange(left_, true)) return;
  Fate alive = Fate::Alive;
  fate(rank_).compare_exchange_strong(alive, Fate::Left);
  Word word;
  word.kind = Word::Leaves;
  word.rank = rank_;
  send(word, -1);
  if (listener_.joinable()) {
    const std::uint64_t one = 1;
    static_cast<void>(!write(stop_.get(), &one, sizeof one));
    listener_.join();
  }
  for (Peer& peer : peers_) peer.link.socket.close();
}

void Health::forget_links() {
  left_ = true;
  for (Peer& peer : peers_) peer.link.socket.close();
}

void Health::listen() {
  std::vector<pollfd> all;
  for (;;) {
    all.assign(1, {stop_.get(), POLLIN, 0});
    for (const Peer& peer : peers_) all.push_back({peer.link.socket.get(), POLLIN, 0});
    if (::poll(all.data(), all.size(), -1) < 0 && errno != EINTR) return;
    if (all[0].revents != 0) return;
    for (std::size_t i = 0; i < peers_.size(); ++i) {
      if (all[i + 1].revents == 0 || receive(peers_[i])) continue;
      const std::lock_guard lock(sending_);
      peers_[i].link.socket.close();
    }
  }
}

/// False once the link has ended.
bool Health::receive(Peer& peer) {
  char buffer[4 * sizeof(Word)];
  const ssize_t n = recv(peer.link.socket.get(), buffer, sizeof buffer, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (n <= 0) {
    lose(peer, n < 0 && errno != ECONNRESET && errno != EPIPE);
    return false;
  }
  peer.received.append(buffer, static_cast<std::size_t>(n));
  for (; peer.received.size() >= sizeof(Word); peer.received.erase(0, sizeof(Word))) {
    Word word;
    std::memcpy(&word, peer.received.data(), sizeof word);
    if (word.magic != Word::kMagic) return false;  // not one of ours: no more of it is believed
    hear(word, peer.link.rank);
  }
  return true;
}

void Health::hear(const Word& word, int from) {
  if (word.kind == Word::Breaks) {
    if (note(word.cause)) send(word, from);
    return;
  }
  if (word.kind != Word::Leaves || word.rank < 0 || word.rank >= static_cast<int>(nodes_.size())) return;
  Fate alive = Fate::Alive;
  if (fate(word.rank).compare_exchange_strong(alive, Fate::Left) || word.rank == from) {
    if (nodes_[word.rank] == nodes_[rank_]) send(word, from);  // others have told it to all themselves
  }
}

void Health::lose(const Peer& peer, bool host_is_gone) {
  const int rank = peer.link.rank;
  if (fate(rank).load() == Fate::Left) return;
  std::vector<int> ranks{rank};
  std::string text = "rank " + std::to_string(rank) + " died";
  if (host_is_gone && nodes_[rank] != nodes_[rank_]) {
    ranks.clear();
    std::string names;
    for (int r = 0; r < static_cast<int>(nodes_.size()); ++r) {
      if (nodes_[r] != nodes_[rank]) continue;
      ranks.push_back(r);
      names += (names.empty() ? "" : ", ") + std::to_string(r);
    }
    text = "no sign of life from the node of rank(s) " + names + " (" + std::strerror(errno) + ")";
  }
  Word word;
  word.cause = Cause::of(Broken::PeerLost, ranks, text);
  if (note(word.cause)) send(word, rank);
}

}  // namespace pyccl
