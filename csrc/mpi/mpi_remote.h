// Messages between nodes, carried by the MPI library that mpi4py has loaded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "engine/transport.h"

namespace pyccl {

/// What mpi4py tells about its MPI. The three addresses are where the handles lie (`MPI._addressof`); they are read
/// once, so only the communicator itself, not its Python object, must outlive the transport.
struct MpiHandles {
  std::string library;           // file of the extension module mpi4py.MPI, already loaded in this process
  std::size_t handle_bytes = 0;  // `MPI._sizeof(MPI.COMM_WORLD)`: 4 in MPICH's ABI, 8 in Open MPI's and in MPI-5's
  const void* communicator = nullptr;  // must return errors (ERRORS_RETURN) and carry nobody else's messages
  const void* byte = nullptr;          // MPI.BYTE
  const void* null_request = nullptr;  // MPI.REQUEST_NULL
  int size = 0;                        // ranks of the communicator
  /// Longer messages are cut into several of MPI's, whose counts are ints. Must be equal on all ranks.
  std::int64_t max_message = std::int64_t{1} << 30;
};

/// Tags are in [0, kMpiTags): the least that the standard promises.
inline constexpr int kMpiTags = 32768;

/// A Remote that also says how many of its requests are neither complete nor given up.
///
/// A receive that finds a message of another length, shorter ones included, fails. That is a net, not a fence: Open MPI
/// 5.0 writes a large message that is too long past the end before it says so. Agree on lengths beforehand.
///
/// After `test` has thrown, the request stays, and every further `test` throws the same, until `cancel`.
///
/// `cancel` is best effort. A receive that no message has met yet is withdrawn, and its memory is free again. MPI
/// cannot withdraw one whose message is arriving, nor, in practice, any send: those are only let go, so their memory
/// must stay mapped until the communicator is freed. `cancel` of a request that is gone does nothing, and nothing calls
/// MPI after it has been finalised, so both are safe while cleaning up.
class MpiRemote : public Remote {
 public:
  virtual int pending() const = 0;
};

/// Throws std::invalid_argument for handles that make no sense, TransportError if the library lacks a function.
std::unique_ptr<MpiRemote> make_mpi_remote(const MpiHandles& handles);

/// What the MPI that a loaded module depends on says it is. It differs from what the module itself reports when a
/// second MPI library has got in between (LD_PRELOAD, a program linked with another MPI).
std::string mpi_library_version(const std::string& library);

/// For ranks that may outlive others: this process calls MPI_Finalize in `end_mpi`, at its very end, unless
/// `forgo_mpi_end` has been called, since a rank that has died would be waited for.
void prepare_mpi_end(const std::string& library);
void forgo_mpi_end();
void end_mpi();

}  // namespace pyccl
