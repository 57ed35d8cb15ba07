// What couriers of two ranks on different nodes send each other: records, and what is to be known of the sender.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <utility>
#include <vector>

#include "server/record.h"

namespace pyccl::server {

/// What a server has counted, as `Counters::all` has it.
using Numbers = std::array<std::int64_t, 13>;

enum class What : std::uint32_t {
  Request,  // a record, for the ring of that number
  Answer,   // the same record when it is done
  Closing,  // the sender's client asks nothing any more
  Ready,    // its server has a whole copy of that shard, or not
  Lost,     // that shard is gone for good
  Silent,   // nothing is heard of the rank of that number, though nobody says that it has died
  Count,    // what its server has counted
  Bye,      // nothing comes any more
};

struct Entry {
  What what = What::Request;
  std::uint32_t place = 0;  // a ring's number, or a shard's, or a rank
  std::uint32_t bytes = 0;  // of what follows: behind a record its payload
  std::uint32_t apart = 0;  // the payload comes as a message of its own; of Ready, whether it is
  std::uint64_t keys = 0;   // of rows: the number of their ids, which the receiver knows (KeyCache); 0: they come along
};

/// Bytes of ids in front of a payload.
inline std::int64_t key_bytes(const Record& r) {
  return r.kind == Kind::PullRows || r.kind == Kind::PushRows ? std::int64_t{r.count} * 8 : 0;
}

/// What travels of a payload.
struct Part { std::int64_t begin = 0, bytes = 0; };

/// Along with a request. What is asked for has room in it, and nothing there yet.
inline Part request_part(const Record& r, bool keys_known) {
  const std::int64_t keys = key_bytes(r), begin = keys_known ? keys : 0;
  switch (r.kind) {
    case Kind::Filler:
    case Kind::Begin:
    case Kind::Clock:
    case Kind::Leave:
    case Kind::Ready:
    case Kind::Read:
    case Kind::Export: return {};
    case Kind::PullRows: return {begin, keys - begin};
    default: return {begin, payload_room(r) - begin};
  }
}

/// And with its answer. Who has asked for rows still has the ids.
inline Part answer_part(const Record& r) {
  if (!reads(r.kind) || r.status != Status::Done) return {};
  return {key_bytes(r), payload_room(r) - key_bytes(r)};
}

inline constexpr std::int64_t kParcelBytes = 16 << 10;
inline constexpr std::int64_t kApartFrom = 2 << 10;  // payloads from here on travel straight from ring to ring
inline constexpr std::size_t kMostApart = 64;        // of a parcel

/// The sender's end.
class Packing {
 public:
  Packing() { bytes_.reserve(kParcelBytes); }
  void clear() {
    bytes_.clear();
    apart_.clear();
  }
  bool empty() const { return bytes_.empty(); }
  const std::vector<char>& bytes() const { return bytes_; }
  const std::vector<std::pair<const char*, std::int64_t>>& apart() const { return apart_; }

  /// False if there is no room for it in this parcel.
  bool put(What what, std::uint32_t place, const Record& record, const Part& part, std::uint64_t keys = 0) {
    const bool apart = part.bytes >= kApartFrom;
    const std::int64_t inside = apart ? 0 : part.bytes;
    if (!fits(static_cast<std::int64_t>(sizeof(Record)) + inside) || apart_.size() == kMostApart) return false;
    head({what, place, static_cast<std::uint32_t>(part.bytes), apart ? 1U : 0U, keys});
    add(&record, sizeof record);
    add(record.payload() + part.begin, static_cast<std::size_t>(inside));
    if (apart) apart_.emplace_back(record.payload() + part.begin, part.bytes);
    return true;
  }
  bool put_note(What what, std::uint32_t place = 0, bool value = true) {
    if (!fits(0)) return false;
    head({what, place, 0, value ? 1U : 0U, 0});
    return true;
  }
  template <class T> bool put_values(What what, const T& values) {
    if (!fits(sizeof values)) return false;
    head({what, 0, sizeof values, 0, 0});
    add(&values, sizeof values);
    return true;
  }

 private:
  bool fits(std::int64_t more) const {
    return std::ssize(bytes_) + static_cast<std::int64_t>(sizeof(Entry)) + more <= kParcelBytes;
  }
  void head(const Entry& entry) { add(&entry, sizeof entry); }
  void add(const void* data, std::size_t n) {
    const std::size_t before = bytes_.size();
    bytes_.resize(before + n);
    if (n > 0) std::memcpy(bytes_.data() + before, data, n);
  }
  std::vector<char> bytes_;
  std::vector<std::pair<const char*, std::int64_t>> apart_;
};

/// The receiver's end. What does not hold together is a std::runtime_error.
class Unpacking {
 public:
  Unpacking(const char* data, std::int64_t bytes) : next_(data), left_(bytes) {}
  bool empty() const { return left_ == 0; }
  template <class T> T take() {
    T value;
    copy(&value, sizeof value);
    return value;
  }
  void copy(void* to, std::int64_t n) {
    if (n < 0 || n > left_) throw std::runtime_error("a parcel from another node is damaged: it ends too early");
    if (n > 0) std::memcpy(to, next_, static_cast<std::size_t>(n));
    next_ += n;
    left_ -= n;
  }

 private:
  const char* next_;
  std::int64_t left_;
};

}  // namespace pyccl::server
