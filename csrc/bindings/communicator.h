// The communicator as Python sees it: arrays, the GIL and asynchronous work around the C++ one.
#pragma once

#include <pybind11/pybind11.h>

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "comm/communicator.h"
#include "comm/work.h"
#include "core/error.h"

namespace pyccl::bindings {

/// A Python exception that a signal handler has raised, on its way through the core.
struct PyInterrupted : Interrupted {
  explicit PyInterrupted(pybind11::error_already_set raised);
  std::shared_ptr<pybind11::error_already_set> error;
};

/// Objects that an operation in flight needs; let go under the GIL wherever the last reference dies.
std::shared_ptr<pybind11::object> hold(pybind11::object object);

/// Runs without the GIL until its end of scope; leaner than pybind11's, which also looks after subinterpreters.
class NoGil {
 public:
  NoGil() : state_(PyEval_SaveThread()) {}
  ~NoGil() { PyEval_RestoreThread(state_); }
  NoGil(const NoGil&) = delete;
  NoGil& operator=(const NoGil&) = delete;

 private:
  PyThreadState* state_;
};

class PyCommunicator : public std::enable_shared_from_this<PyCommunicator> {
 public:
  PyCommunicator(Communicator::Setup setup, std::unique_ptr<shm::Node> node, std::shared_ptr<Remote> remote,
                 std::vector<Link> links, pybind11::function build);
  ~PyCommunicator();

  Communicator& core() { return core_; }
  Progress& progress() { return progress_; }
  /// Throws unless operations may begin.
  void check_open() const {
    if (closed_) refuse_closed();
  }

  /// Looks the call up, building the schedule in Python when it is new.
  Prepared resolve(const Call& call);
  /// The same for an all_reduce of plain arrays, remembering the last few: training repeats itself.
  /// Shared: another thread's call may push it out while it runs.
  std::shared_ptr<const Prepared> resolve_cached(const Call& call);
  void forget(const Region* region);
  /// Runs now, or behind what is already queued; the GIL is released meanwhile.
  void execute(const Prepared& prepared);
  /// Any other operation; the same way.
  void in_turn(const std::function<void()>& operation);
  void refuse(const std::string& reason, double timeout);
  /// The same for messages in `arrays`.
  void transfer(std::vector<MessageCall> messages, pybind11::handle arrays);
  /// Queues messages; they join those queued directly before.
  std::shared_ptr<Work> issue(std::vector<MessageCall> messages, std::shared_ptr<pybind11::object> keep);
  /// Who is told of long waits and failures, and asked where the user's call stands: on every call if `always`, else
  /// only in a wait that has become long. `place()` returns "file:line".
  struct Observers { pybind11::function place, stalled, failed; };
  void observe(double stall, bool always, bool debug, Observers observers);
  /// Where the user calls from, 0 when it is not to be known; needs the GIL.
  std::int32_t place() { return places_always_ ? find_place() : 0; }
  /// Enters an operation that is no collective of the user's in the record.
  std::uint64_t enter(std::uint8_t kind, std::int64_t count = 0) {
    FlightEntry entry;
    entry.kind = kind;
    entry.count = count;
    return core_.flight().open(entry, progress_.busy() ? FlightState::Queued : FlightState::Running, place());
  }
  const std::string& place_name(std::int32_t index) const { return places_.at(static_cast<std::size_t>(index)); }
  /// While recording or debugging, and once closed, the shortcuts around Python's argument checks are off.
  void record(bool on) { recording_ = on; }
  bool shortcuts() const { return !recording_ && !closed_ && !debug_; }
  /// Queues `operation` and waits for it, looking at signals: one that raises ends all that is queued. What the
  /// operation uses must belong to it. Needs the GIL released.
  void run_queued(std::function<void()> operation);
  void wait_for(Work& work);
  /// Runs the queue dry, for at most `patience` seconds (< 0: until its deadlines), and lets go. Throws the first error
  /// that nobody has been told.
  void close(double patience);
  /// In the child of a fork: from now on this is a shell.
  void orphan();

 private:
  void poll();
  std::int32_t find_place();
  void notify(const pybind11::function& observer, std::string text);
  [[noreturn]] void refuse_closed() const;
  std::shared_ptr<Failures> failures_ = std::make_shared<Failures>();
  Communicator core_;
  Progress progress_{failures_};
  bool closed_ = false, orphaned_ = false;
  pybind11::function build_;
  bool recording_ = false;
  bool places_always_ = false, debug_ = false;
  Observers observers_;
  std::vector<std::string> places_{""};
  std::unordered_map<std::string, std::int32_t> place_indices_{{"", 0}};
  struct Remembered {
    std::uint64_t generation = 0;
    std::shared_ptr<const Prepared> prepared;
  };
  std::array<Remembered, 8> remembered_;
  std::size_t oldest_ = 0;
};

/// An asynchronous operation and the array that it will return.
class PyWork {
 public:
  PyWork(std::shared_ptr<Work> work, pybind11::object result) : work_(std::move(work)), result_(std::move(result)) {}
  bool done() const { return work_->done(); }
  pybind11::object wait(pybind11::object timeout);
  pybind11::object result();

 private:
  std::shared_ptr<Work> work_;
  pybind11::object result_;
};

/// A call resolved once and run many times.
class PyPlan {
 public:
  PyPlan(std::shared_ptr<PyCommunicator> comm, Prepared prepared, pybind11::object keep, pybind11::object result)
      : comm_(std::move(comm)), prepared_(std::move(prepared)), keep_(std::move(keep)), result_(std::move(result)) {}
  const pybind11::object& run();
  /// Takes part in the operation by refusing it.
  void refuse(const std::string& reason) { comm_->refuse(reason, -1); }
  const Prepared& prepared() const { return prepared_; }
  std::string algorithm() const { return comm_->core().algorithm_name(prepared_.call.algorithm); }

 private:
  std::shared_ptr<PyCommunicator> comm_;
  Prepared prepared_;
  pybind11::object keep_, result_;
};

}  // namespace pyccl::bindings
