// The writer's end of a ring whose reader may die: what it has not done goes to somebody else.
#pragma once

#include <cstring>
#include <deque>
#include <string>
#include <utility>

#include "server/ring.h"

namespace pyccl::server {

class Outlet {
 public:
  explicit Outlet(Ring& ring) : writer_(ring) {}

  /// Room for a record behind those that are to be sent again; null if there is none now.
  Record* reserve(std::uint32_t bytes) { return again_.empty() ? writer_.reserve(bytes) : nullptr; }
  void publish(const Record& record) { writer_.publish(record); }
  Record* reap() { return writer_.reap(); }
  /// Whether the reader has done all that was sent, and nothing waits to be sent.
  bool idle() const { return again_.empty() && writer_.idle(); }

  /// Sends a copy of a record now or, if there is no room, later.
  void send(const Record& record) {
    const char* bytes = reinterpret_cast<const char*>(&record);
    if (Record* copy = reserve(record.bytes)) {
      std::memcpy(static_cast<void*>(copy), bytes, record.bytes);
      publish(*copy);
    } else {
      again_.emplace_back(bytes, record.bytes);
    }
  }

  /// Takes back, in order, what the reader will never do.
  std::deque<std::string> recover() {
    std::deque<std::string> records;
    while (const Record* record = writer_.salvage())
      records.emplace_back(reinterpret_cast<const char*>(record), record->bytes);
    for (std::string& record : again_) records.push_back(std::move(record));
    again_.clear();
    return records;
  }
  /// Gives it what another reader has left.
  void send_again(std::string record) { again_.push_back(std::move(record)); }
  /// Sends what there is room for; true if there was any.
  bool flush() {
    bool moved = false;
    for (; !again_.empty(); again_.pop_front(), moved = true) {
      const auto bytes = static_cast<std::uint32_t>(again_.front().size());
      Record* record = writer_.reserve(bytes);
      if (record == nullptr) break;
      std::memcpy(static_cast<void*>(record), again_.front().data(), bytes);
      writer_.publish(*record);
    }
    return moved;
  }

 private:
  Writer writer_;
  std::deque<std::string> again_;
};

}  // namespace pyccl::server
