// How the library's own threads begin.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <thread>
#include <utility>

namespace pyccl::server {

/// A thread that gets no signals: these are for the threads of the program.
template <class Run> std::thread own_thread(Run&& run) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread made(std::forward<Run>(run));
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return made;
}

}  // namespace pyccl::server
