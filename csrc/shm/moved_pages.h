// Private memory that becomes shared without changing its address.
#pragma once

#include <cstdint>
#include <vector>

#include "shm/address_space.h"

namespace pyccl::shm {

/// Whole pages whose place a shared file has taken, until they are private again. A child of fork gets private copies:
/// what it writes or frees there must not reach its parent.
class MovedPages {
 public:
  MovedPages() = default;
  MovedPages(const MovedPages&) = delete;
  MovedPages& operator=(const MovedPages&) = delete;
  /// As `restore`; if that fails the pages stay shared, which no reader or writer of theirs notices.
  ~MovedPages();

  /// Copies [begin, end), which `view` shows of the file `fd` at `offset`, into that file and maps it there.
  /// Throws std::invalid_argument if the memory does not allow it and std::system_error if the kernel does not;
  /// nothing has changed then.
  void move(char* begin, char* end, int fd, std::int64_t offset, char* view);
  /// Puts private pages with the same bytes there. Throws std::system_error, and nothing has changed then.
  void restore();
  char* begin() const { return begin_; }
  char* end() const { return end_; }

 private:
  friend struct ForkHandlers;
  bool copy_back() noexcept;

  char *begin_ = nullptr, *end_ = nullptr, *view_ = nullptr;
  std::vector<Extent> extents_;
};

}  // namespace pyccl::shm
