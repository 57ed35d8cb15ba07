#include "mpi/library.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>

#include "core/error.h"
#include "mpi/mpi_remote.h"

namespace pyccl {
namespace mpi {

Library::Library(const std::string& path) : path_(path), handle_(dlopen(path.c_str(), RTLD_NOW | RTLD_NOLOAD)) {
  // A fresh load would bring an MPI of its own, not the one that mpi4py has initialised.
  if (!handle_) throw TransportError("not loaded in this process: " + path);
}

Library::~Library() { dlclose(handle_); }

void* Library::symbol(const char* name) const {
  void* found = dlsym(handle_, name);
  if (!found) throw TransportError("no function " + std::string(name) + " in the MPI library behind " + path_);
  return found;
}

namespace {

int (*finalize)() = nullptr;
int (*initialized)(int*) = nullptr;
int (*finalized)(int*) = nullptr;
std::atomic<bool> someone_died{false};
pid_t owner = 0;

/// Of a child of fork: the destructors of MPI's own libraries would take apart what its parent still uses.
void leave(int status, void*) {
  std::fflush(nullptr);
  _exit(status);
}

}  // namespace
}  // namespace mpi

void prepare_mpi_end(const std::string& library) {
  static const mpi::Library* const kept = new mpi::Library(library);  // until the process ends
  mpi::owner = getpid();
  kept->find(mpi::finalize, "MPI_Finalize");
  kept->find(mpi::initialized, "MPI_Initialized");
  kept->find(mpi::finalized, "MPI_Finalized");
}

void forgo_mpi_end() { mpi::someone_died = true; }

void end_mpi() {
  int begun = 0, done = 0;
  if (mpi::finalize == nullptr) return;
  if (getpid() != mpi::owner) {
    on_exit(mpi::leave, nullptr);
    return;
  }
  if (mpi::someone_died) return;
  if (mpi::initialized(&begun) != 0 || mpi::finalized(&done) != 0 || begun == 0 || done != 0) return;
  static_cast<void>(mpi::finalize());
}

std::string mpi_library_version(const std::string& library) {
  const mpi::Library loaded(library);
  int (*get_library_version)(char*, int*) = nullptr;
  loaded.find(get_library_version, "MPI_Get_library_version");
  char buffer[16384] = {};  // MPI_MAX_LIBRARY_VERSION_STRING is 8192 in MPICH
  int length = 0;
  if (get_library_version(buffer, &length) != 0) throw TransportError("MPI_Get_library_version failed");
  return {buffer, static_cast<std::size_t>(length)};
}

}  // namespace pyccl
