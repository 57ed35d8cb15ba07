#include "mpi/mpi_remote.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/error.h"
#include "mpi/library.h"

namespace pyccl {
namespace {

using mpi::Status;

// One message at the seam: one MPI request for each part of at most max_message bytes.
template <class Handle> struct Message {
  enum class Kind { Gone, Send, Receive };
  Kind kind = Kind::Gone;
  std::vector<Handle> parts;  // keeps its capacity when the slot is used again
  std::size_t done = 0;       // parts complete; one by one, since MPI matches them in order
  std::int64_t bytes = 0;
  int peer = 0;
  int tag = 0;
  std::int64_t* received = nullptr;  // of a receive that takes what comes
  std::string error;                 // of the first `test` that failed

  std::string describe() const {
    return std::string(kind == Kind::Send ? "send of " : "receive of ") + std::to_string(bytes) + " bytes " +
           (kind == Kind::Send ? "to" : "from") + " rank " + std::to_string(peer) + " (tag " + std::to_string(tag) +
           ")";
  }
};

template <class Handle> class Transport final : public MpiRemote {
  using Message = pyccl::Message<Handle>;
  using Kind = typename Message::Kind;

 public:
  explicit Transport(const MpiHandles& handles)
      : library_(handles.library), mpi_(library_), size_(handles.size), max_message_(handles.max_message) {
    std::memcpy(&comm_, handles.communicator, sizeof comm_);
    std::memcpy(&byte_, handles.byte, sizeof byte_);
    std::memcpy(&null_, handles.null_request, sizeof null_);
  }

  Request send(const void* data, std::int64_t bytes, int peer, int tag) override {
    const auto* from = static_cast<const char*>(data);
    return start(Kind::Send, bytes, peer, tag, [&](std::int64_t offset, int count, Handle* request) {
      return mpi_.isend(from + offset, count, byte_, peer, tag, comm_, request);
    });
  }

  Request recv(void* data, std::int64_t bytes, int peer, int tag, std::int64_t* received) override {
    if (received && bytes > max_message_) throw TransportError("MPI: a message of unknown length must be in one part");
    auto* to = static_cast<char*>(data);
    const Request request =
        start(Kind::Receive, bytes, peer, tag, [&](std::int64_t offset, int count, Handle* request) {
          return mpi_.irecv(to + offset, count, byte_, peer, tag, comm_, request);
        });
    messages_[static_cast<std::size_t>(request)].received = received;
    return request;
  }

  bool test(Request request) override {
    Message* message = find(request);
    if (!message) throw TransportError("MPI: no request " + std::to_string(request));
    if (!message->error.empty()) throw TransportError(message->error);
    for (; message->done < message->parts.size(); ++message->done) {
      Status status;
      int complete = 0;
      const int code = mpi_.test(&message->parts[message->done], &complete, &status);
      if (code != 0) fail(*message, mpi_.text(code));
      if (!complete) return false;
      if (message->kind == Kind::Receive) check_length(*message, status);
    }
    release(request);
    return true;
  }

  void cancel(Request request) override {
    Message* message = find(request);
    if (!message) return;
    int finalized = 0;
    if (mpi_.finalized(&finalized) == 0 && !finalized) {
      // Later parts first: were an early one withdrawn before, its message could meet the next part's memory.
      for (std::size_t i = message->parts.size(); i-- > message->done;) give_up(message->kind, message->parts[i]);
    }
    release(request);
  }

  void progress() override {
    int found = 0;
    Status status;
    mpi_.iprobe(0, 0, comm_, &found, &status);  // what it finds does not matter
  }

  int pending() const override { return static_cast<int>(messages_.size() - free_.size()); }

  const char* name() const override { return "mpi"; }

 private:
  template <class Start> Request start(Kind kind, std::int64_t bytes, int peer, int tag, Start&& part) {
    if (bytes < 0) throw TransportError("MPI: negative message length " + std::to_string(bytes));
    if (peer < 0 || peer >= size_) throw TransportError("MPI: no rank " + std::to_string(peer));
    if (tag < 0 || tag >= kMpiTags) throw TransportError("MPI: tag out of range: " + std::to_string(tag));
    const Request request = acquire();
    Message& message = messages_[static_cast<std::size_t>(request)];
    message.kind = kind;
    message.bytes = bytes;
    message.peer = peer;
    message.tag = tag;
    std::int64_t offset = 0;
    do {  // a message of no bytes has one part, too
      const auto count = static_cast<int>(std::min(bytes - offset, max_message_));
      message.parts.push_back(null_);
      const int code = part(offset, count, &message.parts.back());
      if (code != 0) {
        message.parts.pop_back();
        const std::string what = "MPI " + message.describe() + ": " + mpi_.text(code);
        cancel(request);
        throw TransportError(what);
      }
      offset += count;
    } while (offset < bytes);
    return request;
  }

  // MPI reports a message too long for its memory, but takes a shorter one in silence.
  void check_length(Message& message, const Status& status) {
    const auto part = static_cast<std::int64_t>(message.done);
    const std::int64_t expected = std::min(message.bytes - part * max_message_, max_message_);
    int count = 0;
    const int code = mpi_.get_count(&status, byte_, &count);
    if (code != 0) fail(message, mpi_.text(code));
    if (message.received) *message.received = count;
    if (message.received || count == expected) return;
    fail(message, "got " + std::to_string(part * max_message_ + count) + " bytes only");
  }

  [[noreturn]] void fail(Message& message, const std::string& why) {
    message.error = "MPI " + message.describe() + ": " + why;
    throw TransportError(message.error);
  }

  // Errors have no reader here: the operation has failed already.
  void give_up(Kind kind, Handle& request) {
    if (request == null_) return;
    if (kind == Kind::Receive && mpi_.cancel(&request) == 0) {
      constexpr int kTries = 100;  // a withdrawal is local; one whose message is arriving might wait for its sender
      for (int i = 0, complete = 0; i < kTries; ++i) {
        Status status;
        if (mpi_.test(&request, &complete, &status) != 0 || complete) break;
      }
    }
    if (request != null_) mpi_.request_free(&request);
  }

  Message* find(Request request) {
    const auto index = static_cast<std::size_t>(request);
    if (request < 0 || index >= messages_.size() || messages_[index].kind == Kind::Gone) return nullptr;
    return &messages_[index];
  }

  Request acquire() {
    if (free_.empty()) {
      messages_.emplace_back();
      free_.reserve(messages_.size());  // so that release never allocates
      return static_cast<Request>(messages_.size() - 1);
    }
    const Request request = free_.back();
    free_.pop_back();
    return request;
  }

  void release(Request request) {
    Message& message = messages_[static_cast<std::size_t>(request)];
    message.kind = Kind::Gone;
    message.parts.clear();
    message.done = 0;
    message.received = nullptr;
    message.error.clear();
    free_.push_back(request);
  }

  mpi::Library library_;
  mpi::Functions<Handle> mpi_;
  Handle comm_;
  Handle byte_;
  Handle null_;
  int size_;
  std::int64_t max_message_;
  std::vector<Message> messages_;
  std::vector<Request> free_;
};

}  // namespace

std::unique_ptr<MpiRemote> make_mpi_remote(const MpiHandles& handles) {
  if (handles.max_message < 1 || handles.max_message > std::numeric_limits<int>::max())
    throw std::invalid_argument("max_message must be in [1, 2^31), got " + std::to_string(handles.max_message));
  if (!handles.communicator || !handles.byte || !handles.null_request)
    throw std::invalid_argument("an MPI handle is missing");
  if (handles.size < 1) throw std::invalid_argument("size must be positive, got " + std::to_string(handles.size));
  if (handles.handle_bytes == sizeof(int)) return std::make_unique<Transport<int>>(handles);
  if (handles.handle_bytes == sizeof(void*)) return std::make_unique<Transport<void*>>(handles);
  throw std::invalid_argument("MPI handles of " + std::to_string(handles.handle_bytes) + " bytes are unknown");
}

}  // namespace pyccl
