// The seam between the engine and whatever carries bytes to a rank that does not share our memory.
#pragma once

#include <cstdint>

namespace pyccl {

/// Non-blocking point-to-point messages, matched first in first out per (peer, tag).
/// One thread at a time; a failed call throws TransportError.
class Remote {
 public:
  using Request = int;
  virtual ~Remote() = default;
  /// `data` must stay unchanged until the request is done. Any number of bytes (0 and > 2^31 included).
  virtual Request send(const void* data, std::int64_t bytes, int peer, int tag) = 0;
  virtual Request recv(void* data, std::int64_t bytes, int peer, int tag) = 0;
  /// True once complete; the request is then gone.
  virtual bool test(Request request) = 0;
  /// Gives up a request whose operation failed; its memory is no longer touched where the library can promise it.
  virtual void cancel(Request request) = 0;
  virtual const char* name() const = 0;
};

}  // namespace pyccl
