#include "shm/moved_pages.h"

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <system_error>

namespace pyccl::shm {

/// fork() belongs to the process: so does the list of what its children must not share.
struct ForkHandlers {
  static inline std::mutex mutex;  // held from before a fork until after it: no pages are half moved in a child
  static inline std::vector<MovedPages*> all;

  static void install() {
    static const int failed = pthread_atfork([] { mutex.lock(); }, [] { mutex.unlock(); },
                                             [] {
                                               for (MovedPages* pages : all) {
                                                 // what cannot be copied can at least not be written: the parent's
                                                 // numbers are worth more than the child
                                                 if (!pages->copy_back())
                                                   mprotect(pages->begin_, pages->end_ - pages->begin_, PROT_READ);
                                                 pages->begin_ = pages->end_ = nullptr;
                                               }
                                               all.clear();
                                               mutex.unlock();
                                             });
    if (failed != 0) throw std::system_error(failed, std::generic_category(), "pthread_atfork");
  }
};

MovedPages::~MovedPages() {
  try {
    restore();
  } catch (const std::system_error&) {
    const std::lock_guard lock(ForkHandlers::mutex);
    std::erase(ForkHandlers::all, this);
  }
}

void MovedPages::move(char* begin, char* end, int fd, std::int64_t offset, char* view) {
  if (begin >= end) return;
  ForkHandlers::install();
  const std::lock_guard lock(ForkHandlers::mutex);
  std::vector<Extent> extents = private_extents(begin, end);
  ForkHandlers::all.reserve(ForkHandlers::all.size() + 1);
  const auto bytes = static_cast<std::size_t>(end - begin);
  std::memcpy(view, begin, bytes);
  // The kernel checks its limits before it takes the old mapping away, and takes it away and puts the new one there
  // under one lock. Private memory would be accounted in between, shared memory is not.
  if (mmap(begin, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, offset) == MAP_FAILED) {
    throw std::system_error(errno, std::generic_category(), "mapping shared memory over the array");
  }
  for (const Extent& e : extents) {
    for (int advice : e.advice) madvise(e.begin, static_cast<std::size_t>(e.end - e.begin), advice);
  }
  begin_ = begin;
  end_ = end;
  view_ = view;
  extents_ = std::move(extents);
  ForkHandlers::all.push_back(this);
}

void MovedPages::restore() {
  const std::lock_guard lock(ForkHandlers::mutex);
  if (begin_ == end_) return;
  if (!copy_back()) throw std::system_error(errno, std::generic_category(), "making a registered array private again");
  begin_ = end_ = nullptr;
  std::erase(ForkHandlers::all, this);
}

/// The copy is made elsewhere and then moved: memory that is short shows while nothing has changed, and whoever reads
/// meanwhile finds the right bytes. Only what a child of fork may do.
bool MovedPages::copy_back() noexcept {
  const auto bytes = static_cast<std::size_t>(end_ - begin_);
  void* fresh = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (fresh == MAP_FAILED) return false;
  std::memcpy(fresh, view_, bytes);
  if (mremap(fresh, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, begin_) == MAP_FAILED) {
    const int error = errno;
    munmap(fresh, bytes);
    errno = error;
    return false;
  }
  for (const Extent& e : extents_) {
    for (int advice : e.advice) madvise(e.begin, static_cast<std::size_t>(e.end - e.begin), advice);
  }
  return true;
}

}  // namespace pyccl::shm
