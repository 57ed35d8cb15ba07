// The C++ side of the error tree in pyccl/errors.py.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace pyccl {

struct Error : std::runtime_error { using std::runtime_error::runtime_error; };
struct CommError : Error { using Error::Error; };
struct MismatchError : CommError { using CommError::CommError; };
struct TransportError : CommError { using CommError::CommError; };

/// Deadline passed; `missing` are the ranks that had not arrived.
struct Timeout : CommError {
  Timeout(const std::string& what, std::vector<int> ranks) : CommError(what), missing(std::move(ranks)) {}
  std::vector<int> missing;
};
/// A peer refused the operation (bad argument on its side); nothing was moved.
struct PeerAborted : CommError {
  PeerAborted(const std::string& what, int who, std::string why) : CommError(what), rank(who), reason(std::move(why)) {}
  int rank;
  std::string reason;
};
/// A peer's process is gone.
struct PeerLost : CommError {
  PeerLost(const std::string& what, int who) : CommError(what), rank(who) {}
  int rank;
};

}  // namespace pyccl
