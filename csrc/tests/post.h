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
    return next_++;
  }

  bool test(Request request) override {
    if (chance() < 0.3) return false;
    const std::lock_guard lock(office_.mutex);
    Asked& asked = requests_.at(request);
    if (asked.letter ? !asked.letter->taken : !take(asked)) return false;
    requests_.erase(request);
    return true;
  }

  void cancel(Request request) override { requests_.erase(request); }
  void progress() override {}
  const char* name() const override { return "post"; }

 private:
  struct Asked {
    std::shared_ptr<PostOffice::Letter> letter;  // of a send
    void* to = nullptr;
    std::int64_t bytes = 0;
    int peer = 0, tag = 0;
    std::int64_t* received = nullptr;
  };

  bool take(Asked& asked) {
    auto& box = office_.boxes[{asked.peer, rank_, asked.tag}];
    if (box.empty()) return false;
    const auto letter = box.front();
    box.pop_front();
    letter->taken = true;
    if (letter->count > asked.bytes || (asked.received == nullptr && letter->count != asked.bytes))
      throw TransportError("a message of another length");
    std::memcpy(asked.to, letter->data, static_cast<std::size_t>(letter->count));
    if (asked.received != nullptr) *asked.received = letter->count;
    return true;
  }
  double chance() { return std::uniform_real_distribution<>(0, 1)(random_); }

  PostOffice& office_;
  int rank_;
  double damage_;
  std::mt19937 random_;
  std::map<Request, Asked> requests_;
  Request next_ = 0;
};

}  // namespace pyccl::tests
