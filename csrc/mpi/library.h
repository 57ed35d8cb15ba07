// The few MPI functions the transport needs, found at run time: no MPI header, nothing linked, so one build serves
// every MPI and cannot disagree with the one in use.
#pragma once

#include <cstddef>
#include <string>

namespace pyccl::mpi {

/// MPI_Status is 20 bytes in MPICH, 24 in Open MPI, 32 in the MPI-5 ABI. Room for more spares us MPI_STATUS_IGNORE,
/// whose value differs between the libraries.
struct alignas(16) Status { unsigned char bytes[256]; };

/// A shared object that this process has loaded already.
class Library {
 public:
  explicit Library(const std::string& path);
  ~Library();
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  /// Looks in the object, then in what it depends on: from mpi4py's module that leads to its own libmpi.
  template <class Function> void find(Function*& function, const char* name) const {
    function = reinterpret_cast<Function*>(symbol(name));
  }

 private:
  void* symbol(const char* name) const;

  std::string path_;
  void* handle_;
};

/// `Handle` stands for MPI_Comm, MPI_Datatype and MPI_Request alike: int in MPICH's ABI, a pointer in the others.
template <class Handle> struct Functions {
  explicit Functions(const Library& library) {
    library.find(isend, "MPI_Isend");
    library.find(irecv, "MPI_Irecv");
    library.find(test, "MPI_Test");
    library.find(iprobe, "MPI_Iprobe");
    library.find(get_count, "MPI_Get_count");
    library.find(cancel, "MPI_Cancel");
    library.find(request_free, "MPI_Request_free");
    library.find(error_string, "MPI_Error_string");
    library.find(finalized, "MPI_Finalized");
  }

  std::string text(int code) const {
    char buffer[8192] = {};  // MPI_MAX_ERROR_STRING is 1024 at most in the known libraries
    int length = 0;
    if (error_string(code, buffer, &length) != 0) return "error code " + std::to_string(code);
    return {buffer, static_cast<std::size_t>(length)};
  }

  int (*isend)(const void*, int, Handle type, int peer, int tag, Handle comm, Handle* request);
  int (*irecv)(void*, int, Handle type, int peer, int tag, Handle comm, Handle* request);
  int (*test)(Handle* request, int* flag, Status*);
  int (*iprobe)(int peer, int tag, Handle comm, int* flag, Status*);
  int (*get_count)(const Status*, Handle type, int* count);
  int (*cancel)(Handle* request);
  int (*request_free)(Handle* request);
  int (*error_string)(int code, char* text, int* length);
  int (*finalized)(int* flag);
};

}  // namespace pyccl::mpi
