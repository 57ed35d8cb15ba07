// Messages in flight. What an error leaves behind is cancelled, so that nothing writes into memory that is gone.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "engine/transport.h"

namespace pyccl {

class Pending {
 public:
  explicit Pending(Remote* remote) : remote_(remote) {}
  Pending(Pending&& other) noexcept : remote_(other.remote_), parts_(std::exchange(other.parts_, {})) {}
  ~Pending() {
    for (const Part& part : parts_) remote_->cancel(part.request);
  }
  void send(const char* data, std::int64_t bytes, int peer, int tag) {
    parts_.push_back({remote_->send(data, bytes, peer, tag), data, bytes, peer});
  }
  void recv(char* data, std::int64_t bytes, int peer, int tag, std::int64_t* received = nullptr) {
    parts_.push_back({remote_->recv(data, bytes, peer, tag, received), data, bytes, peer});
  }
  bool empty() const { return parts_.empty(); }
  /// Adds those whose messages are under way.
  void add_peers(std::vector<int>& ranks) const {
    for (const Part& part : parts_) {
      if (std::find(ranks.begin(), ranks.end(), part.peer) == ranks.end()) ranks.push_back(part.peer);
    }
  }
  /// Tests all; true if any of them has completed.
  bool test() {
    return std::erase_if(parts_, [this](const Part& part) { return remote_->test(part.request); }) != 0;
  }
  /// True while a message uses one of these bytes.
  bool uses(const char* data, std::int64_t bytes) const {
    return std::any_of(parts_.begin(), parts_.end(),
                       [&](const Part& part) { return data < part.data + part.bytes && part.data < data + bytes; });
  }

 private:
  struct Part {
    Remote::Request request;
    const char* data;
    std::int64_t bytes;
    int peer;
  };
  Remote* remote_;
  std::vector<Part> parts_;
};

}  // namespace pyccl
