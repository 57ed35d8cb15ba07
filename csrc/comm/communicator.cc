#include "comm/communicator.h"

#include <algorithm>
#include <stdexcept>

#include "comm/verdict.h"
#include "core/error.h"

namespace pyccl {
namespace {

constexpr int kAccess = 2;  // bit of output_registered in the index of direct programs

int access_index(Access access) { return (access.input_registered ? 1 : 0) + (access.output_registered ? kAccess : 0); }

std::int64_t call_bytes(const Call& call, int size) {
  std::int64_t elements = call.count;
  if (call.kind == Collective::AllToAll) {
    elements *= size;
    for (std::int64_t c : call.send_counts) elements += c;
  }
  return elements * static_cast<std::int64_t>(item_size(call.dtype));
}

std::int64_t output_elements(const Call& call, int rank, int size) {
  if (call.kind == Collective::ReduceScatter || call.kind == Collective::Scatter) {
    Call mirrored = call;
    mirrored.kind = Collective::Gather;
    return input_elements(mirrored, rank, size);
  }
  return call.kind == Collective::AllToAll ? input_elements(call, rank, size) : call.count;
}

}  // namespace

Communicator::Communicator(Setup setup, std::unique_ptr<shm::Node> node, std::shared_ptr<Remote> remote)
    : setup_(std::move(setup)), node_(std::move(node)), remote_(std::move(remote)),
      engine_(setup_.rank, node_.get(), remote_.get()),
      exchange_(setup_.rank, setup_.size, node_.get(), remote_.get(), setup_.timeout, &poll_, flight_) {
  if (static_cast<int>(setup_.nodes.size()) != setup_.size)
    throw std::invalid_argument("nodes must name a node per rank");
  spans_nodes_ = std::any_of(setup_.nodes.begin(), setup_.nodes.end(), [&](int n) { return n != setup_.nodes[0]; });
  if (spans_nodes_ && !remote_) throw std::invalid_argument("several nodes need a remote transport");
}

int Communicator::algorithm_index(const std::string& name) {
  const auto found = std::find(algorithms_.begin(), algorithms_.end(), name);
  if (found != algorithms_.end()) return static_cast<int>(found - algorithms_.begin());
  if (algorithms_.size() == 255) throw std::length_error("more than 255 algorithms");
  algorithms_.push_back(name);
  return static_cast<int>(algorithms_.size()) - 1;
}

void Communicator::set_choices(Collective kind, bool registered, std::vector<Choice> choices) {
  if (choices.empty()) throw std::invalid_argument("no algorithm to choose from");
  choices_[registered][static_cast<int>(kind)] = std::move(choices);
  ++generation_;
}

int Communicator::choose(Collective kind, bool registered, std::int64_t bytes) const {
  const auto& choices = choices_[registered][static_cast<int>(kind)];
  for (const Choice& c : choices) {
    if (bytes <= c.max_bytes) return c.algorithm;
  }
  if (choices.empty()) throw std::logic_error("no algorithm table for this collective");
  return choices.back().algorithm;
}

bool Communicator::has_program(Collective kind, int algorithm, int root) const {
  return programs_.contains({kind, algorithm, root});
}

void Communicator::add_program(int algorithm, const Schedule& schedule) {
  const bool rooted = schedule.root >= 0;
  Compiled& c = programs_[{schedule.collective, algorithm, schedule.root}];
  c.schedule = schedule;
  if (!rooted) c.schedule.root = 0;
  c.staged = std::make_shared<const Program>(compile(c.schedule, setup_.rank, setup_.nodes));
}

bool Communicator::prepare(Prepared& p) {
  if (!p.call.send_counts.empty() && setup_.size > 1 && !prepare_counts(p)) return false;
  Call& call = p.call;
  const bool automatic = call.algorithm < 0;
  const std::int64_t bytes = call_bytes(call, setup_.size);
  if (automatic) call.algorithm = choose(call.kind, false, bytes);
  const auto found = programs_.find({call.kind, call.algorithm, call.root});
  if (found == programs_.end()) return false;
  Compiled& c = found->second;
  p.staged = c.staged;
  const bool even = call.counts.empty() && call.send_counts.empty();
  if (!even || c.layout_count != call.count || !c.layout[0]) {
    c.layout[0] = std::make_shared<const Layout>(make_layout(call, setup_.rank, setup_.size, c.staged->nchunks));
    c.layout_count = even ? call.count : -1;
  }
  p.staged_layout = c.layout[0];
  const bool premultiplied = call.op == OpKind::PremulSum && reduces(call.kind);
  if (regions_.size() == 0 || spans_nodes_ || !node_ || premultiplied || !call.send_counts.empty()) return true;
  const auto item = static_cast<std::int64_t>(item_size(call.dtype));
  // rooted collectives: only the side that every rank has can be agreed upon
  const bool use_input = call.kind != Collective::Scatter;
  const bool use_output = call.kind != Collective::Reduce && call.kind != Collective::Gather;
  if (call.input && use_input)
    p.input_region = regions_.find(call.input, input_elements(call, setup_.rank, setup_.size) * item);
  if (call.output && use_output)
    p.output_region = regions_.find(call.output, output_elements(call, setup_.rank, setup_.size) * item);
  const Access access{p.input_region != nullptr, p.output_region != nullptr};
  if (!access.input_registered && !access.output_registered) return true;
  const int algorithm = automatic ? choose(call.kind, true, bytes) : call.algorithm;
  const auto other = programs_.find({call.kind, algorithm, call.root});
  if (other == programs_.end()) {
    call.algorithm = algorithm;
    return false;
  }
  Compiled& d = other->second;
  const int index = access_index(access);
  if (!d.direct_tried[index]) {
    d.direct_tried[index] = true;
    Program program;
    if (compile_direct(d.schedule, setup_.rank, access, program)) {
      d.direct[index] = std::make_shared<const Program>(std::move(program));
    }
  }
  p.direct = d.direct[index];
  if (!p.direct) return true;
  p.direct_layout =
      &d == &c ? p.staged_layout
               : std::make_shared<const Layout>(make_layout(call, setup_.rank, setup_.size, p.direct->nchunks));
  const auto peers = [&](const std::shared_ptr<Region>& region, const void* data, std::vector<char*>& out) {
    if (!region) return;
    const auto offset = static_cast<const char*>(data) - region->own;
    for (char* base : region->bases) out.push_back(base ? base + offset : nullptr);
  };
  peers(p.input_region, call.input, p.peer_inputs);
  peers(p.output_region, call.output, p.peer_outputs);
  return true;
}

Binding Communicator::bind(const Prepared& p, const Layout& layout) {
  const Call& call = p.call;
  Binding b;
  b.input = static_cast<const char*>(call.input);
  b.output = static_cast<char*>(call.output);
  b.layout = &layout;
  b.how = {call.dtype, call.op, call.user};
  if (!reduces(call.kind)) return b;
  if (call.op == OpKind::Avg) b.divisor = setup_.size;
  if (call.op == OpKind::PremulSum) {
    const std::int64_t n = input_elements(call, setup_.rank, setup_.size);
    char* scaled = premultiplied_.reserve(n * static_cast<std::int64_t>(item_size(call.dtype)) + 1);
    kernels::scale(call.dtype, scaled, call.input, n, call.factor);
    b.input = scaled;
    b.how.op = OpKind::Sum;
  }
  if (call.op == OpKind::Avg) b.how.op = OpKind::Sum;
  return b;
}

void Communicator::run(const Prepared& p, const Deadline& deadline) {
  const Fingerprint mine = fingerprint(p);
  if (mine.details != 0) add_note(p.call);
  const bool uneven_all_to_all = !p.call.send_counts.empty();
  if (setup_.size == 1 || spans_nodes_ || uneven_all_to_all) return run_agreed(p, deadline, mine);
  node_->set_operation(&mine, algorithm_name(p.call.algorithm).c_str());
  node_->announce(mine);
  Binding staged = bind(p, *p.staged_layout);
  const int tag = static_cast<int>(sequence_ % 4096);
  if (!p.direct) {
    const Engine::Check check = [this, &mine] {
      for (int rank : node_->ranks()) {
        const Fingerprint& other = node_->announced(rank);
        if (!mine.same_operation(other) || other.input_key || other.output_key) {
          act_on(compare_on_node(mine), mine);
          return !any_registered();
        }
      }
      return true;
    };
    if (engine_.run(*p.staged, staged, deadline, check, false, tag)) return;
  } else {
    node_->meet(deadline);
    act_on(compare_on_node(mine), mine);
    if (all_registered(mine)) {
      Binding direct = bind(p, *p.direct_layout);
      direct.peer_inputs = &p.peer_inputs;
      direct.peer_outputs = &p.peer_outputs;
      const std::int64_t footprint = call_bytes(p.call, setup_.size) * setup_.size;
      direct.stream = footprint > setup_.cache_bytes && p.call.input != p.call.output;
      engine_.run(*p.direct, direct, deadline, {}, true, tag);
      return;
    }
  }
  node_->realign();
  engine_.run(*p.staged, staged, deadline, {}, false, tag);  // registered here, private there: staging serves all
}

void Communicator::run_agreed(const Prepared& p, const Deadline& deadline, const Fingerprint& mine) {
  Layout layout = *p.staged_layout;
  if (setup_.size > 1) {
    if (node_) node_->set_operation(&mine, algorithm_name(p.call.algorithm).c_str());
    const Verdict verdict = agree(mine, deadline);
    act_on(verdict, mine);
    layout.largest = verdict.extent;
    if (p.counts) layout = exchange_counts(p, deadline);
  }
  engine_.run(*p.staged, bind(p, layout), deadline, {}, false, static_cast<int>(sequence_ % 4096));
}

void Communicator::check_usable() const {
  if (broken_.empty()) return;
  if (node_ && node_->broken()) node_->throw_broken();
  throw CommError("the communicator is broken: " + broken_);
}

void Communicator::break_with(const std::exception& error) {
  broken_ = error.what();
  if (!node_) return;
  if (const auto* late = dynamic_cast<const Timeout*>(&error); late && !late->missing.empty()) {
    return node_->break_off(shm::Broken::Timeout, late->missing.front(), broken_);
  }
  node_->break_off(shm::Broken::Error, setup_.rank, "rank " + std::to_string(setup_.rank) + " failed: " + broken_);
}

/// Every collective passes here: one at a time, numbered, and a failure that not all ranks share breaks the
/// communicator.
void Communicator::guarded(double timeout, std::uint64_t ticket,
                           const std::function<void(const Deadline&)>& operation) {
  const std::lock_guard lock(order_);
  Airborne airborne(flight_, ticket);
  check_usable();
  flight_.begin(ticket, ++sequence_);
  running_.store(ticket, std::memory_order_relaxed);
  const Deadline deadline(timeout >= 0 ? timeout : setup_.timeout, &poll_);
  try {
    operation(deadline);
  } catch (const Refused&) {
    if (node_) node_->realign();
    throw;
  } catch (const MismatchError& error) {
    if (node_) node_->realign();
    airborne.fail();
    tell(error);
    throw;
  } catch (const PeerAborted&) {
    if (node_) node_->realign();
    throw;
  } catch (const std::exception& error) {
    break_with(error);
    airborne.fail();
    tell(error);
    throw;
  }
  if (node_) node_->set_operation(nullptr, "");
  airborne.land();
}

void Communicator::execute(const Prepared& p, std::uint64_t ticket) {
  guarded(p.call.timeout, ticket, [&](const Deadline& deadline) {
    run(p, deadline);
    if (p.call.op == OpKind::User && reduces(p.call.kind)) confirm_user_function(fingerprint(p), deadline);
  });
}

void Communicator::agree_to_split(double timeout, std::uint64_t ticket) {
  guarded(timeout, ticket, [&](const Deadline& deadline) {
    if (setup_.size == 1) return;
    Fingerprint mine;
    mine.kind = kSplit;
    mine.sequence = sequence_;
    act_on(agree(mine, deadline), mine);
  });
}

void Communicator::refuse(const std::string& reason, double timeout, std::uint64_t ticket) {
  guarded(timeout, ticket, [&](const Deadline& deadline) {
    const Airborne never_lands(flight_, ticket);
    if (setup_.size == 1) return;
    Fingerprint mine;
    mine.kind = kAborted;
    mine.sequence = sequence_;
    if (node_) {
      const std::size_t n = std::min<std::size_t>(reason.size(), shm::kReasonBytes - 1);
      std::copy_n(reason.data(), n, node_->next_reason());
      node_->next_reason()[n] = 0;
    }
    refusal_ = reason;
    agree(mine, deadline);
    if (node_) node_->realign();
  });
}

}  // namespace pyccl
