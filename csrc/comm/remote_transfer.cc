#include "comm/remote_transfer.h"

#include <cstring>
#include <optional>

namespace pyccl {
namespace {

// Behind the tags of collectives and away from the one of agreement. A rank has one message under way per peer and
// direction, so that tags need not tell messages apart.
enum Tag : int { kEnvelopeTag = 16384, kAnswerTag, kDataTag };

constexpr std::int64_t kEager = 1024;

/// Always sent whole: a receiver must know how long it is.
struct Opening {
  Envelope envelope;
  char data[kEager];
};

struct Answer {
  Envelope envelope;
  std::int64_t accepted = 0;
};

/// A request and the memory that it uses; what is under way when this goes is given up.
class Pending {
 public:
  explicit Pending(Remote& remote) : remote_(remote) {}
  ~Pending() {
    if (request_) remote_.cancel(*request_);
  }
  Pending(const Pending&) = delete;
  Pending& operator=(const Pending&) = delete;
  void start(Remote::Request request) { request_ = request; }
  bool finished() {
    if (request_ && remote_.test(*request_)) request_.reset();
    return !request_;
  }

 private:
  Remote& remote_;
  std::optional<Remote::Request> request_;
};

class RemoteSend final : public Transfer {
 public:
  RemoteSend(const MessageCall& message, int rank, std::uint32_t sequence, Remote& remote)
      : Transfer(message, rank, sequence), remote_(remote), outgoing_(remote), incoming_(remote) {}

  bool advance() override {
    switch (state_) {
      case State::Fresh: return open();
      case State::Asked: return incoming_.finished() && outgoing_.finished() && act();
      case State::Moving:
        if (!outgoing_.finished()) return false;
        finish();
        state_ = State::Done;
        return true;
      case State::Done: break;
    }
    return false;
  }

 private:
  enum class State { Fresh, Asked, Moving, Done };

  bool open() {
    opening_->envelope = envelope_;
    if (envelope_.bytes > 0 && envelope_.bytes <= kEager) {
      std::memcpy(opening_->data, message_.data, static_cast<std::size_t>(envelope_.bytes));
    }
    incoming_.start(remote_.recv(answer_.get(), sizeof(Answer), peer(), kAnswerTag));
    outgoing_.start(remote_.send(opening_.get(), sizeof(Opening), peer(), kEnvelopeTag));
    state_ = State::Asked;
    return true;
  }

  bool act() {
    if (!answer_->accepted) {
      refuse(answer_->envelope);
      state_ = State::Done;
    } else if (envelope_.bytes <= kEager) {
      finish();
      state_ = State::Done;
    } else {
      outgoing_.start(remote_.send(message_.data, envelope_.bytes, peer(), kDataTag));
      state_ = State::Moving;
    }
    return true;
  }

  Remote& remote_;
  State state_ = State::Fresh;
  std::unique_ptr<Opening> opening_ = std::make_unique<Opening>();
  std::unique_ptr<Answer> answer_ = std::make_unique<Answer>();
  Pending outgoing_, incoming_;  // after their memory: given up before it goes
};

class RemoteReceive final : public Transfer {
 public:
  RemoteReceive(const MessageCall& message, int rank, std::uint32_t sequence, Remote& remote)
      : Transfer(message, rank, sequence), remote_(remote), outgoing_(remote), incoming_(remote) {}

  bool advance() override {
    switch (state_) {
      case State::Fresh:
        incoming_.start(remote_.recv(opening_.get(), sizeof(Opening), peer(), kEnvelopeTag));
        state_ = State::Waiting;
        return true;
      case State::Waiting: return incoming_.finished() && act();
      case State::Moving: return incoming_.finished() && outgoing_.finished() && settle();
      case State::Done: break;
    }
    return false;
  }

 private:
  enum class State { Fresh, Waiting, Moving, Done };

  bool act() {
    answer_->envelope = envelope_;
    answer_->accepted = envelope_.fits(opening_->envelope) ? 1 : 0;
    if (answer_->accepted && envelope_.bytes > kEager) {
      incoming_.start(remote_.recv(message_.data, envelope_.bytes, peer(), kDataTag));
    } else if (answer_->accepted && envelope_.bytes > 0) {
      std::memcpy(message_.data, opening_->data, static_cast<std::size_t>(envelope_.bytes));
    }
    outgoing_.start(remote_.send(answer_.get(), sizeof(Answer), peer(), kAnswerTag));
    state_ = State::Moving;
    return true;
  }

  bool settle() {
    if (answer_->accepted) finish();
    else refuse(opening_->envelope);
    state_ = State::Done;
    return true;
  }

  Remote& remote_;
  State state_ = State::Fresh;
  std::unique_ptr<Opening> opening_ = std::make_unique<Opening>();
  std::unique_ptr<Answer> answer_ = std::make_unique<Answer>();
  Pending outgoing_, incoming_;
};

}  // namespace

std::unique_ptr<Transfer> make_remote_transfer(const MessageCall& message, int rank, std::uint32_t sequence,
                                               Remote& remote) {
  if (message.sends) return std::make_unique<RemoteSend>(message, rank, sequence, remote);
  return std::make_unique<RemoteReceive>(message, rank, sequence, remote);
}

}  // namespace pyccl
