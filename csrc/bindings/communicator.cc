#include "bindings/communicator.h"

#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "bindings/arrays.h"
#include "bindings/fast.h"
#include "bindings/method.h"
#include "comm/carried.h"
#include "core/error.h"

namespace py = pybind11;
using namespace pybind11::literals;

namespace pyccl::bindings {
namespace {

struct Arguments {
  int kind, op, algorithm, root;
  py::object input, output;
  std::int64_t count;
  std::vector<std::int64_t> counts, send_counts, recv_counts;
  double factor;
  std::uintptr_t user;
  std::uint32_t details;
  std::string note;
  double timeout;
};

Call make_call(const Arguments& a) {
  Call call;
  call.kind = static_cast<Collective>(a.kind);
  call.op = static_cast<OpKind>(a.op);
  call.algorithm = a.algorithm;
  call.root = a.root;
  call.count = a.count;
  call.counts = a.counts;
  call.send_counts = a.send_counts;
  call.recv_counts = a.recv_counts;
  call.factor = a.factor;
  call.user = reinterpret_cast<kernels::UserFunction>(a.user);
  call.details = a.details;
  call.note = a.note;
  call.timeout = a.timeout;
  for (const bool is_input : {true, false}) {
    const py::object& object = is_input ? a.input : a.output;
    if (object.is_none()) continue;
    const auto seen = view(object);
    if (!seen) throw py::type_error("an array that arrays.py has not resolved reached the core");
    if (!is_input && !seen->writable) throw py::value_error("out is read-only");
    call.dtype = seen->dtype;
    (is_input ? const_cast<char*&>(reinterpret_cast<const char*&>(call.input))
              : reinterpret_cast<char*&>(call.output)) = seen->data;
  }
  if (call.kind == Collective::Broadcast) {  // one array: read at the root, written elsewhere
    if (call.input == nullptr) call.input = call.output;
    call.output = const_cast<void*>(call.input);
  }
  return call;
}

Arguments arguments(int kind, int op, int algorithm, int root, py::object input, py::object output, std::int64_t count,
                    std::vector<std::int64_t> counts, std::vector<std::int64_t> send_counts,
                    std::vector<std::int64_t> recv_counts, double factor, std::uintptr_t user, std::uint32_t details,
                    std::string note, double timeout) {
  return {kind,
          op,
          algorithm,
          root,
          std::move(input),
          std::move(output),
          count,
          std::move(counts),
          std::move(send_counts),
          std::move(recv_counts),
          factor,
          user,
          details,
          std::move(note),
          timeout};
}

/// What fails on this rank alone must not leave the others waiting.
Prepared resolve_or_refuse(PyCommunicator& self, const Arguments& a) {
  try {
    return self.resolve(make_call(a));
  } catch (const Interrupted& error) {
    self.core().interrupt(error.what());
    throw;
  } catch (const std::exception& error) {
    const std::string text = error.what();
    self.refuse(text.substr(0, text.find('\n')), -1);
    throw;
  }
}

/// `watcher`, unless it is None, is told by the thread that runs the operation when it begins and when it has ended.
PyWork submit(PyCommunicator& self, const Arguments& a, py::object result, py::object watcher) {
  self.check_open();
  auto prepared = std::make_shared<Prepared>(resolve_or_refuse(self, a));
  auto keep = hold(py::make_tuple(a.input, a.output, result));
  const std::uint64_t ticket = self.core().enter(prepared->call, FlightState::Queued, self.place());
  const auto observer = watcher.is_none() ? nullptr : hold(std::move(watcher));
  const auto tell = [observer](const char* method) {
    if (!observer) return;
    const py::gil_scoped_acquire gil;
    observer->attr(method)();
  };
  auto work = self.progress().submit([&core = self.core(), prepared, keep, ticket, tell] {
    tell("started");
    core.execute(*prepared, ticket);
    tell("finished");
  });
  return {std::move(work), std::move(result)};
}

py::array allocate(const std::shared_ptr<PyCommunicator>& self, const py::dtype& dtype, std::vector<py::ssize_t> shape,
                   std::int64_t bytes, double timeout) {
  const auto made = std::make_shared<std::shared_ptr<Region>>();  // outlives a call that a signal ends
  const std::uint64_t ticket = self->enter(kAllocate, bytes);
  self->in_turn(
      [core = &self->core(), made, bytes, timeout, ticket] { *made = core->allocate(bytes, timeout, ticket); });
  const std::shared_ptr<Region> region = *made;
  self->core().regions().add(region);
  struct Owner {
    std::shared_ptr<PyCommunicator> comm;
    std::shared_ptr<Region> region;
  };
  char* data = region->own;
  const py::capsule owner(new Owner{self, region}, [](void* p) {
    std::unique_ptr<Owner> o(static_cast<Owner*>(p));
    o->comm->forget(o->region.get());
  });
  return py::array(dtype, std::move(shape), data, owner);
}

std::uint32_t adopt(PyCommunicator& self, std::uintptr_t address, std::int64_t bytes, double timeout) {
  void* const data = reinterpret_cast<void*>(address);
  const bool known = self.core().regions().overlaps(data, bytes);
  const std::string why =
      known ? "x is registered already (close what register returned), or shares bytes with an array that is" : "";
  std::shared_ptr<Region> region;
  const std::uint64_t ticket = self.enter(kRegister, bytes);
  self.in_turn([&] { region = self.core().adopt(data, bytes, why, timeout, ticket); });
  const std::uint32_t number = region->id;
  self.core().regions().add(std::move(region));
  return number;
}

void release(PyCommunicator& self, std::uint32_t number) {
  for (const auto& region : self.core().regions().adopted(number)) {
    self.in_turn([&] { self.core().release(*region); });
    self.forget(region.get());
  }
}

/// The pages on which survivors write; they keep the mapping.
py::array notes(const shm::Segment& segment) {
  const auto ranks = static_cast<int>(segment.hub().ranks);
  const py::capsule owner(new shm::Mapping(segment.mapping()), [](void* p) { delete static_cast<shm::Mapping*>(p); });
  char* const data = segment.base() + shm::notes_offset(ranks);
  return py::array_t<std::uint8_t>({py::ssize_t{ranks}, py::ssize_t{shm::kNoteBytes}},
                                   reinterpret_cast<std::uint8_t*>(data), owner);
}

}  // namespace

void register_communicator(py::module_& m) {
  add_method_class(m);
  py::class_<shm::Segment, std::shared_ptr<shm::Segment>>(m, "Segment")
      .def_static(
          "create", [](int ranks) { return std::make_shared<shm::Segment>(shm::Segment::create(ranks)); }, "ranks"_a)
      .def_static(
          "open",
          [](std::int64_t pid, int fd, int ranks, const py::bytes& nonce) {
            return std::make_shared<shm::Segment>(shm::Segment::open(pid, fd, ranks, nonce));
          },
          "pid"_a, "fd"_a, "ranks"_a, "nonce"_a)
      .def_property_readonly("fd", &shm::Segment::fd)
      .def_property_readonly("nonce", [](const shm::Segment& s) { return py::bytes(s.nonce()); })
      .def_property_readonly("notes", &notes)
      .def("close_descriptor", &shm::Segment::close_descriptor);
  py::class_<PyWork>(m, "Work")
      .def("__repr__", [](const PyWork& w) { return std::string("<pyccl.Work ") + (w.done() ? "done>" : "running>"); })
      .def("done", &PyWork::done)
      .def("wait", &PyWork::wait, "timeout"_a = py::none())
      .def("result", &PyWork::result);
  const auto callable = py::custom_type_setup([](PyHeapTypeObject* type) { type->ht_type.tp_call = &call_plan; });
  py::class_<PyPlan>(m, "Plan", callable)
      .def("__repr__",
           [](const PyPlan& p) {
             return std::string("<pyccl.Plan of ") + name(p.prepared().call.kind) + ", " + p.algorithm() + ">";
           })
      .def_property_readonly("algorithm", &PyPlan::algorithm);
  py::class_<Arguments>(m, "Arguments")
      .def(py::init(&arguments), "kind"_a, "op"_a, "algorithm"_a, "root"_a, "input"_a, "output"_a, "count"_a,
           "counts"_a, "send_counts"_a, "recv_counts"_a, "factor"_a, "user"_a, "details"_a, "note"_a, "timeout"_a)
      .def_readonly("input", &Arguments::input)
      .def_readonly("output", &Arguments::output);
  py::class_<PyCommunicator, std::shared_ptr<PyCommunicator>> communicator(m, "Communicator");
  communicator
      .def(py::init([](int rank, int size, std::vector<int> nodes, double timeout,
                       const std::shared_ptr<shm::Segment>& segment, std::vector<int> node_ranks,
                       std::vector<std::int64_t> pids, bool crowded, double spin, int yields,
                       std::shared_ptr<Remote> remote, py::function build,
                       const std::vector<std::pair<int, int>>& links) {
             std::unique_ptr<shm::Node> node;
             if (segment) {
               const shm::WaitPolicy policy{crowded, spin, yields};
               node = std::make_unique<shm::Node>(std::move(*segment), rank, std::move(node_ranks), std::move(pids),
                                                  policy);
             }
             std::vector<Link> owned;
             for (const auto& [peer, fd] : links) owned.push_back({peer, shm::Descriptor(fd)});
             return std::make_shared<PyCommunicator>(Communicator::Setup{rank, size, std::move(nodes), timeout},
                                                     std::move(node), std::move(remote), std::move(owned),
                                                     std::move(build));
           }),
           "rank"_a, "size"_a, "nodes"_a, "timeout"_a, "segment"_a, "node_ranks"_a, "pids"_a, "crowded"_a, "spin"_a,
           "yields"_a, "remote"_a, "build"_a, "links"_a = std::vector<std::pair<int, int>>())
      .def(
          "algorithm_index", [](PyCommunicator& c, const std::string& name) { return c.core().algorithm_index(name); },
          "name"_a)
      .def(
          "algorithm_name", [](PyCommunicator& c, int index) { return c.core().algorithm_name(index); }, "index"_a)
      .def(
          "set_choices",
          [](PyCommunicator& c, int kind, bool registered, const std::vector<std::pair<std::int64_t, int>>& rows) {
            std::vector<Communicator::Choice> choices;
            for (const auto& [bytes, algorithm] : rows) choices.push_back({bytes, algorithm});
            c.core().set_choices(static_cast<Collective>(kind), registered, std::move(choices));
          },
          "kind"_a, "registered"_a, "rows"_a)
      .def(
          "choose",
          [](PyCommunicator& c, int kind, bool registered, std::int64_t nbytes) {
            return c.core().choose(static_cast<Collective>(kind), registered, nbytes);
          },
          "kind"_a, "registered"_a, "nbytes"_a)
      .def(
          "run", [](PyCommunicator& c, const Arguments& a) { c.execute(resolve_or_refuse(c, a)); }, "arguments"_a)
      .def("submit", &submit, "arguments"_a, "result"_a, "watcher"_a = py::none())
      .def(
          "plan",
          [](const std::shared_ptr<PyCommunicator>& c, const Arguments& a, py::object result) {
            return PyPlan(c, c->resolve(make_call(a)), py::make_tuple(a.input, a.output), std::move(result));
          },
          "arguments"_a, "result"_a)
      .def(
          "agree_to_split",
          [](PyCommunicator& c, double timeout) {
            const std::uint64_t ticket = c.enter(kSplit);
            c.in_turn([core = &c.core(), timeout, ticket] { core->agree_to_split(timeout, ticket); });
          },
          "timeout"_a)
      .def("refuse", &PyCommunicator::refuse, "reason"_a, "timeout"_a)
      .def("allocate", &allocate, "dtype"_a, "shape"_a, "nbytes"_a, "timeout"_a)
      .def("adopt", &adopt, "address"_a, "nbytes"_a, "timeout"_a)
      .def("release", &release, "number"_a)
      .def(
          "registered",
          [](PyCommunicator& c, std::uintptr_t address, std::int64_t nbytes) {
            return c.core().regions().find(reinterpret_cast<const void*>(address), nbytes) != nullptr;
          },
          "address"_a, "nbytes"_a)
      .def_property_readonly("direct_runs", [](PyCommunicator& c) { return c.core().direct_runs(); })
      .def_property_readonly("carried_runs", [](PyCommunicator& c) { return c.core().carried_runs(); })
      .def("busy", [](PyCommunicator& c) { return c.progress().busy(); })
      .def("close", &PyCommunicator::close, "patience"_a = -1.0)
      .def("orphan", &PyCommunicator::orphan)
      .def(
          "abort", [](PyCommunicator& c, const std::string& reason) { c.core().abort(reason); }, "reason"_a,
          py::call_guard<py::gil_scoped_release>())
      .def("look", [](PyCommunicator& c) { c.core().health().look(); })
      .def("lost", [](PyCommunicator& c) { return c.core().health().lost(); })
      .def("gone", [](PyCommunicator& c) { return c.core().health().gone(); })
      .def("broken", [](PyCommunicator& c) { return c.core().health().broken(); });
  m.def("carried_bytes", [] { return kCarried; });
  m.def("set_bfloat16", &set_bfloat16, "type_number"_a);
}

}  // namespace pyccl::bindings
