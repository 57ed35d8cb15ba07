// What a rank says about the operation it is about to run; compared by every peer before anything is written.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include "core/types.h"

namespace pyccl {

/// 48 bytes of a control line. Two ranks run the same operation iff all fields but the last two agree.
struct Fingerprint {
  std::uint8_t kind = 0;       // Collective, or kAborted
  std::uint8_t op = 0;         // OpKind, or what an all_gather is part of
  std::uint8_t dtype = 0;      // DataType
  std::uint8_t algorithm = 0;  // index into the communicator's algorithm names
  std::int32_t root = 0;
  std::int64_t count = 0;  // elements of the large side
  std::uint32_t sequence = 0;
  std::uint32_t details = 0;  // hash of per-rank counts, user operation, node count
  std::int64_t extent = 0;    // largest chunk known to this rank (all_to_all with uneven counts), not compared
  std::uint64_t input_key = 0, output_key = 0;  // registered array and offset, 0 when private, not compared

  bool same_operation(const Fingerprint& other) const {
    return std::memcmp(this, &other, offsetof(Fingerprint, extent)) == 0;
  }
};
static_assert(sizeof(Fingerprint) == 48);

inline constexpr std::uint8_t kGroup = 0xfb;     // a group begins; count is of collectives
inline constexpr std::uint8_t kRegister = 0xfc;  // comm.register(); count is in bytes
inline constexpr std::uint8_t kSplit = 0xfd;     // comm.split()
inline constexpr std::uint8_t kAllocate = 0xfe;  // comm.empty(); count is in bytes
inline constexpr std::uint8_t kAborted = 0xff;   // the rank refused the call; its reason is in its notice area

inline constexpr std::uint8_t kForSplit = 0x10, kForCheckSame = 0x11;  // `op` of an all_gather: what it is part of

/// "split" or "check_same"; null for an operation of its own.
const char* purpose(std::uint8_t kind, std::uint8_t op);

/// "all_reduce(dtype=float32, count=10, op=sum, algorithm=ring) #3", for messages; `algorithm` may be empty.
std::string describe(const Fingerprint& fingerprint, const std::string& algorithm);

const char* name(Collective collective);
const char* name(DataType dtype);
const char* name(OpKind op);

}  // namespace pyccl
