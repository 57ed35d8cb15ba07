// What clients ask of servers, and servers of their replicas.
#pragma once

#include <cstdint>
#include <limits>

#include "kernels/codecs.h"
#include "policy/rule.h"

namespace pyccl::server {

enum class Kind : std::uint8_t {
  Filler,    // no request: the rest of a ring before its end
  Begin,     // the client wants to begin an iteration on a table; answered with the version that it reads
  Push,      // a piece of a dense gradient
  Step,      // the same piece of several clients, as their mean; from an owner to its replica
  Clock,     // the client has ended an iteration
  PushRows,  // sparse gradients: unique ids, then rows
  Load,      // overwrites a piece of a column: parameters, or state of the optimiser; or rows
  PullRows,  // ids; the rows are written behind them
  Export,    // rows with all that belongs to them, from place `version` on, `count` at most, are written into the
             // payload; how many into `piece`, the next place into `log`
  Read,   // a piece of a column of a dense table, for who cannot read it himself: written into the payload, how often
          // it was updated into `version`
  Leave,  // the client has finished, or is gone
  State,  // a part of a shard's state, for a new replica; Loads with no number follow, then Ready
  Ready,
};

/// Moved: the shard has another owner, of whom the client has not heard yet.
enum class Status : std::uint8_t { Done, Moved, Refused };

/// Elements of a dense table that are sent and applied at once.
inline constexpr std::int64_t kPieceElements = 16 << 10;

/// A request, followed by its payload; and its answer, which the server writes into the same bytes.
struct alignas(64) Record {
  std::uint32_t bytes = sizeof(Record);  // with the payload, a multiple of 64
  Kind kind = Kind::Filler;
  Status status = Status::Done;
  std::uint16_t shard = 0;
  std::int32_t table = -1;
  std::int32_t client = -1;    // of a Step, how many contribute
  std::uint64_t sequence = 0;  // of the client's requests to this shard, from 1
  std::uint64_t log = 0;       // of the shard's changes, from 1
  std::int32_t piece = 0, pieces = 1;
  std::int32_t count = 0;                         // elements or rows
  kernels::Codec wire = kernels::Codec::Float32;  // of the gradient in the payload
  std::uint8_t column = 0;                        // of a Load
  policy::Fate fate = policy::Fate::Applied;      // of a gradient, in the answer
  std::uint32_t term = 0;                         // of the view by which the sender went
  std::int64_t version = 0;  // of Begin: the one that is read; of a gradient: its staleness; of a Load: its steps

  char* payload() { return reinterpret_cast<char*>(this + 1); }
  const char* payload() const { return reinterpret_cast<const char*>(this + 1); }
  bool last() const { return piece + 1 == pieces; }
};
static_assert(sizeof(Record) == 64);

/// One of those whose mean a Step is; they stand in front of its elements.
struct Contributor {
  std::uint64_t sequence;
  std::int64_t client;
};

/// Whether a request changes nothing.
inline bool reads(Kind kind) { return kind == Kind::PullRows || kind == Kind::Export || kind == Kind::Read; }

inline std::int64_t payload_room(const Record& record) {
  return static_cast<std::int64_t>(record.bytes) - static_cast<std::int64_t>(sizeof(Record));
}

/// Whether a payload has room for `count` values behind `before` bytes, on a wire that exists.
inline bool holds(const Record& record, std::int64_t before, std::int64_t count) {
  return static_cast<int>(record.wire) < kernels::kCodecs &&
         before + kernels::encoded_bytes(record.wire, count) <= payload_room(record);
}

inline std::uint32_t record_bytes(std::int64_t payload) {
  return static_cast<std::uint32_t>((static_cast<std::int64_t>(sizeof(Record)) + payload + 63) / 64 * 64);
}

}  // namespace pyccl::server
