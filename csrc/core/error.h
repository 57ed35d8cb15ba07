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
/// A peer refused the operation (bad argument on its side) and nothing was moved; or, if `broken`, it gave up the whole
/// communicator.
struct PeerAborted : CommError {
  PeerAborted(const std::string& what, int who, std::string why, bool for_good = false)
      : CommError(what), rank(who), reason(std::move(why)), broken(for_good) {}
  int rank;
  std::string reason;
  bool broken;
};
/// A signal handler raised while an operation waited; what() says what.
struct Interrupted : std::runtime_error { using std::runtime_error::runtime_error; };
/// An engine's wait that was too long; the communicator says for what. `ranks` are those it listened to.
struct Unheard : std::runtime_error {
  explicit Unheard(std::vector<int> whom) : std::runtime_error("no message in time"), ranks(std::move(whom)) {}
  std::vector<int> ranks;
};
/// A parameter server is gone and no replica took over.
struct ServerLost : CommError { using CommError::CommError; };
/// A peer's process is gone.
struct PeerLost : CommError {
  PeerLost(const std::string& what, int who) : CommError(what), rank(who) {}
  int rank;
};

}  // namespace pyccl
