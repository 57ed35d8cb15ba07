#include "shm/memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include "shm/layout.h"

namespace pyccl::shm {
namespace {

[[noreturn]] void fail(const std::string& what) { throw std::system_error(errno, std::generic_category(), what); }

}  // namespace

Mapping::Mapping(int fd, std::int64_t bytes) : bytes_(bytes) {
  const auto size = static_cast<std::size_t>(bytes), slack = static_cast<std::size_t>(kHugePage);
  void* reserved = mmap(nullptr, size + slack, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) fail("reserving address space");
  char* start = static_cast<char*>(reserved);
  char* base = reinterpret_cast<char*>((reinterpret_cast<std::uintptr_t>(start) + slack - 1) & ~(slack - 1));
  if (mmap(base, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
    const int error = errno;
    munmap(reserved, size + slack);
    errno = error;
    fail("mapping shared memory");
  }
  const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t used = (size + page - 1) / page * page, head = static_cast<std::size_t>(base - start);
  if (head > 0) munmap(start, head);
  if (slack > head) munmap(base + used, slack + size - head - used);
  if (bytes >= kHugePage) madvise(base, size, MADV_HUGEPAGE);
  base_ = {base, [size](char* p) { munmap(p, size); }};
}

void populate(char* begin, std::int64_t bytes) {
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<std::uintptr_t>(begin), head = address % page;
  const std::size_t length = static_cast<std::size_t>(bytes) + head;
  if (bytes == 0 || madvise(reinterpret_cast<void*>(address - head), length, MADV_POPULATE_WRITE) == 0) return;
  if (errno != EINVAL) fail("allocating " + std::to_string(bytes) + " bytes of shared memory");
  std::memset(begin, 0, static_cast<std::size_t>(bytes));  // Linux before 5.14
}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

void Descriptor::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Descriptor create_memory(std::int64_t bytes) {
  Descriptor fd(memfd_create("pyccl", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (fd.get() < 0) fail("memfd_create");
  if (fchmod(fd.get(), S_IRUSR | S_IWUSR) != 0) fail("fchmod of the memfd");
  if (ftruncate(fd.get(), bytes) != 0) fail("sizing shared memory to " + std::to_string(bytes) + " bytes");
  if (fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) fail("sealing the memfd");
  return fd;
}

Descriptor open_memory(std::int64_t pid, int fd, std::int64_t bytes) {
  const std::string path = "/proc/" + std::to_string(pid) + "/fd/" + std::to_string(fd);
  Descriptor own(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (own.get() < 0) fail("opening " + path);
  struct stat status{};
  if (fstat(own.get(), &status) != 0) fail("fstat of " + path);
  if (status.st_size < bytes) throw std::runtime_error(path + " is smaller than the segment that it should be");
  return own;
}

}  // namespace pyccl::shm
