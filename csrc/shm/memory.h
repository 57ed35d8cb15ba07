// Anonymous shared memory: a memfd of ours, or one that a peer shows under /proc/PID/fd.
#pragma once

#include <cstdint>
#include <memory>

namespace pyccl::shm {

/// A mapping of `bytes` bytes, aligned to huge pages where it is large enough for them. Copies share it.
class Mapping {
 public:
  Mapping() = default;
  Mapping(int fd, std::int64_t bytes);  // throws std::system_error
  char* base() const { return base_.get(); }
  std::int64_t bytes() const { return bytes_; }

 private:
  std::shared_ptr<char> base_;  // unmaps
  std::int64_t bytes_ = 0;
};

/// Allocates [begin, begin + bytes) of a mapping now: memory that is short is a std::system_error here, not a SIGBUS
/// later.
void populate(char* begin, std::int64_t bytes);

/// An owned file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor() { close(); }
  int get() const { return fd_; }
  void close();

 private:
  int fd_;
};

/// A new memfd of that size, mode 0600, sealed against shrinking (a shrunk file is a SIGBUS in every peer).
Descriptor create_memory(std::int64_t bytes);
/// Opens descriptor `fd` of process `pid`; throws std::system_error, or std::runtime_error if it is too small.
Descriptor open_memory(std::int64_t pid, int fd, std::int64_t bytes);

}  // namespace pyccl::shm
