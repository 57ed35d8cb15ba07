// Messages between threads, for tests of what goes from node to node: sent when they are taken, and late at times.
#pragma once

#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "engine/transport.h"

namespace pyccl::tests {

/// One for all ranks.
class PostOffice {
 public:
  struct Letter {
    std::string bytes;  // of a small one; a large one is copied when it is taken
    const void* data = nullptr;
    std::int64_t count = 0;
    bool taken = false;
  };
  std::mutex mutex;
  std::map<std::vector<int>, std::deque<std::shared_ptr<Letter>>> boxes;  // by sender, receiver and tag
};

class Post final : public Remote {
 public:
  /// `damage`: that share of the small messages is changed somewhere.
  Post(PostOffice& office, int rank, double damage)
      : office_(office), rank_(rank), damage_(damage), random_(static_cast<unsigned>(rank) + 1) {}

  Request send(const void* data, std::int64_t bytes, int peer, int tag) override {
    auto letter = std::make_shared<PostOffice::Letter>();
    letter->data = data;
    letter->count = bytes;
    if (tag == 0) {
      letter->bytes.assign(static_cast<const char*>(data), static_cast<std::size_t>(bytes));
      letter->data = letter->bytes.data();
      if (chance() < damage_) letter->bytes[random_() % letter->bytes.size()] ^= static_cast<char>(1 << random_() % 8);
    }
    const std::lock_guard lock(office_.mutex);
    office_.boxes[{rank_, peer, tag}].push_back(letter);
    requests_[next_] = {.letter = std::move(letter)};
    return next_++;
  }

  Request recv(void* data, std::int64_t bytes, int peer, int tag, std::int64_t* received) override {
    requests_[next_] = {.letter = nullptr, .to = data, .bytes = bytes, .peer = peer, .tag = tag, .received = received};
    posted_[{peer, tag}].push_back(next_);
    return next_++;
  }

  bool test(Request request) override {
    if (chance() < 0.3) return false;
    const std::lock_guard lock(office_.mutex);
    Asked& asked = requests_.at(request);
    if (!asked.letter) deliver(asked.peer, asked.tag);
    if (asked.letter ? !asked.letter->taken : !asked.done) return false;
    requests_.erase(request);
    return true;
  }

  void cancel(Request request) override {
    if (const Asked& asked = requests_.at(request); !asked.letter && !asked.done)
      std::erase(posted_[{asked.peer, asked.tag}], request);
    requests_.erase(request);
  }
  void progress() override {}
  const char* name() const override { return "post"; }

 private:
  struct Asked {
    std::shared_ptr<PostOffice::Letter> letter;  // of a send
    void* to = nullptr;
    std::int64_t bytes = 0;
    int peer = 0, tag = 0;
    std::int64_t* received = nullptr;
    bool done = false;  // of a receive
  };

  /// As MPI does: the first letter is for the first who asked, whoever looks.
  void deliver(int peer, int tag) {
    auto& box = office_.boxes[{peer, rank_, tag}];
    std::deque<Request>& posted = posted_[{peer, tag}];
    for (; !box.empty() && !posted.empty(); box.pop_front(), posted.pop_front())
      take(requests_.at(posted.front()), *box.front());
  }

  static void take(Asked& asked, PostOffice::Letter& letter) {
    letter.taken = asked.done = true;
    if (letter.count > asked.bytes || (asked.received == nullptr && letter.count != asked.bytes))
      throw TransportError("a message of another length");
    std::memcpy(asked.to, letter.data, static_cast<std::size_t>(letter.count));
    if (asked.received != nullptr) *asked.received = letter.count;
  }
  double chance() { return std::uniform_real_distribution<>(0, 1)(random_); }

  PostOffice& office_;
  int rank_;
  double damage_;
  std::mt19937 random_;
  std::map<Request, Asked> requests_;
  std::map<std::pair<int, int>, std::deque<Request>> posted_;  // by peer and tag
  Request next_ = 0;
};

}  // namespace pyccl::tests
