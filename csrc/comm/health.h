// Whether a communicator still works: who is gone, who gave up and why, on this node and on the others.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "shm/node.h"

namespace pyccl {

/// A stream socket to another rank. Its end, without a word, is that rank's death.
struct Link {
  int rank;
  shm::Descriptor socket;
};

/// Ranks of a node share one record of this. Between nodes word travels along links: from a rank to the lowest of its
/// node, and between the lowest of all nodes, where a thread listens. The kernel answers for a rank that is busy or
/// stopped, so silence means that a host is gone.
class Health {
 public:
  Health(int rank, std::vector<int> nodes, shm::Node* node, std::vector<Link> links);
  ~Health() { leave(); }
  Health(const Health&) = delete;
  Health& operator=(const Health&) = delete;

  bool broken() const { return outage_->broken(); }
  [[noreturn]] void raise() const { outage_->raise(); }
  /// The first reason stays; every rank of every node hears of it.
  void break_off(const shm::Cause& why);
  /// Lets other nodes know what has broken this one.
  void tell();
  /// For every wait, at least every 50 ms: throws once the communicator is broken or a rank of this node has died.
  void look();
  /// Ranks that have died, as far as this one knows.
  std::vector<int> lost();
  /// Says goodbye: from now on the end of this process is no death.
  void leave();
  /// In the child of a fork: its copies of the links would outlive their owner.
  void forget_links();

 private:
  struct Word;
  struct Peer {
    Link link;
    std::string received;
  };
  std::atomic<shm::Fate>& fate(int rank) const { return fates_[rank]; }
  void listen();
  bool receive(Peer& peer);
  void hear(const Word& word, int from);
  void lose(const Peer& peer, bool host_is_gone);
  bool note(const shm::Cause& why);
  void send(const Word& word, int except);

  const int rank_;
  const std::vector<int> nodes_;
  shm::Node* const node_;
  std::unique_ptr<shm::Outage> own_outage_;
  std::unique_ptr<std::atomic<shm::Fate>[]> own_fates_;
  shm::Outage* outage_;
  std::atomic<shm::Fate>* fates_;
  std::mutex sending_;
  std::vector<Peer> peers_;
  bool told_ = false, left_ = false;
  shm::Descriptor stop_;
  std::thread listener_;
};

}  // namespace pyccl
