// The outcome of comparing fingerprints; travels between nodes, so it is plain bytes.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <type_traits>

#include "comm/communicator.h"

namespace pyccl {

inline constexpr std::size_t kVerdictOffset = 64;  // in a rank's notice area, behind the address of its memory

/// A failure that all ranks see at the same operation: the communicator stays usable.
struct Refused : std::runtime_error { using std::runtime_error::runtime_error; };

struct Communicator::Verdict {
  enum Status : std::int32_t { Agreed, Mismatch, Aborted, Missing };
  std::int32_t status = Agreed;
  std::int32_t told = 0;                  // bytes of this that a message has: as a rule all end before `b`
  std::int32_t rank_a = -1, rank_b = -1;  // who disagrees with whom, who refused or is missing
  std::int64_t extent = 0;                // the largest of all
  Fingerprint a, b;
  std::int32_t missing[8] = {}, nmissing = 0;
  char reason[shm::kReasonBytes] = {};    // of an aborted one why, of a mismatch what a calls, else who is missing
  char reason_b[shm::kReasonBytes] = {};  // what b calls

  /// Adds what another node says.
  void add(const Verdict& other);
  /// A message of what is worth telling, short ones being much faster. Returns its bytes.
  std::int64_t write(char* message) const;
  /// Returns the bytes of it, of a message of `length`; throws where they cannot be its own.
  std::int64_t read(const char* message, std::int64_t length);
};

}  // namespace pyccl
