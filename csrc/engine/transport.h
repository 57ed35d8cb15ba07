// The seams between the engine and what carries bytes: Local for ranks that share memory, Remote for all others.
#pragma once

#include <cstdint>

#include "engine/deadline.h"

namespace pyccl {

/// Non-blocking point-to-point messages, matched first in first out per (peer, tag).
/// One thread at a time; a failed call throws TransportError.
class Remote {
 public:
  using Request = int;
  virtual ~Remote() = default;
  /// `data` must stay unchanged until the request is done. Any number of bytes (0 and > 2^31 included).
  virtual Request send(const void* data, std::int64_t bytes, int peer, int tag) = 0;
  /// With `received` the message may be shorter, and says there how long it is.
  virtual Request recv(void* data, std::int64_t bytes, int peer, int tag, std::int64_t* received = nullptr) = 0;
  /// True once complete; the request is then gone.
  virtual bool test(Request request) = 0;
  /// Gives up a request whose operation failed; its memory is no longer touched where the library can promise it.
  virtual void cancel(Request request) = 0;
  /// Moves whatever is under way, sends included that `test` has found complete.
  virtual void progress() = 0;
  virtual const char* name() const = 0;
};

/// Half of every rank's staging area.
inline constexpr std::int64_t kStagingBytes = 512 << 10;

/// The ranks of one node. A *meeting* returns after all of them have called it; what a rank wrote before it is
/// visible to all after it. The two halves of the staging areas serve alternate segments: a rank that has met everybody
/// in segment g - 1 may write the half that everybody read in segment g - 2.
class Local {
 public:
  virtual ~Local() = default;
  virtual void meet(const Deadline& deadline) = 0;
  /// Numbers the next `count` segments; the same on every rank. Returns the first; a segment's parity is its half.
  virtual std::int64_t claim_segments(std::int64_t count) = 0;
  virtual char* staging(int rank, unsigned half) const = 0;
  virtual std::int64_t staging_bytes() const = 0;
  /// The same, but small, and next to the control line.
  virtual char* inline_staging(int rank, unsigned half) const = 0;
  virtual std::int64_t inline_bytes() const = 0;
};

}  // namespace pyccl
