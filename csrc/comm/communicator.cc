#include "comm/communicator.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "comm/carried.h"
#include "comm/verdict.h"
#include "core/error.h"

namespace pyccl {

Communicator::Communicator(Setup setup, std::unique_ptr<shm::Node> node, std::shared_ptr<Remote> remote,
                           std::vector<Link> links)
    : setup_(std::move(setup)), node_(std::move(node)), remote_(std::move(remote)),
      engine_(setup_.rank, node_.get(), remote_.get()),
      health_(setup_.rank, setup_.nodes, node_.get(), std::move(links)), poll_([this] {
        health_.look();
        if (interrupt_) interrupt_();
      }),
      exchange_(setup_.rank, setup_.size, node_.get(), remote_.get(), setup_.timeout, &poll_, flight_) {
  if (static_cast<int>(setup_.nodes.size()) != setup_.size)
    throw std::invalid_argument("nodes must name a node per rank");
  spans_nodes_ = std::any_of(setup_.nodes.begin(), setup_.nodes.end(), [&](int n) { return n != setup_.nodes[0]; });
  if (spans_nodes_ && !remote_) throw std::invalid_argument("several nodes need a remote transport");
  if (node_ && node_->policy().crowded) looks_ = 200;
  for (int r = 0; r < setup_.size; ++r) {
    const auto found = std::find_if(by_node_.begin(), by_node_.end(),
                                    [&](const auto& ranks) { return setup_.nodes[ranks[0]] == setup_.nodes[r]; });
    if (found != by_node_.end()) found->push_back(r);
    else by_node_.push_back({r});
  }
  if (spans_nodes_) carry_ = [this] { remote_->progress(); };
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
  c.carried = compile_carried(c.schedule);
  c.staged = std::make_shared<const Program>(compile(c.schedule, setup_.rank, setup_.nodes));
}

bool Communicator::prepare(Prepared& p) {
  if (!p.call.send_counts.empty() && setup_.size > 1 && !prepare_counts(p)) return false;
  Call& call = p.call;
  const bool automatic = call.algorithm < 0;
  if (automatic) call.algorithm = choose(call.kind, false, call_bytes(call, setup_.size));
  const auto found = programs_.find({call.kind, call.algorithm, call.root});
  if (found == programs_.end()) return false;
  Compiled& c = found->second;
  p.staged = c.staged;
  p.carried = c.carried;
  p.digest = c.schedule.digest;
  const bool even = call.counts.empty() && call.send_counts.empty();
  if (!even || c.layout_count != call.count || !c.layout[0]) {
    c.layout[0] = std::make_shared<const Layout>(make_layout(call, setup_.rank, setup_.size, c.staged->nchunks));
    c.layout_count = even ? call.count : -1;
  }
  p.staged_layout = c.layout[0];
  return prepare_direct(p, c, automatic);
}

/// Whether outputs are written past the caches. A reduction in place has just read its lines: they are at hand, unless
/// ranks take long turns on a core, with large pieces, and have pushed each other's out (Node::staging_bytes).
bool Communicator::passes_caches(const Call& call) const {
  const bool in_place = reduces(call.kind) && call.input == call.output;
  if (in_place && !(node_ && node_->policy().crowded && node_->policy().yields == 0)) return false;
  const std::int64_t here = node_ ? static_cast<std::int64_t>(node_->ranks().size()) : 1;
  return call_bytes(call, setup_.size) * here >= (in_place ? 4 : 1) * kernels::kCacheBytes;
}

Binding Communicator::bind(const Prepared& p, const Layout& layout) {
  const Call& call = p.call;
  Binding b;
  b.input = static_cast<const char*>(call.input);
  b.output = static_cast<char*>(call.output);
  b.layout = &layout;
  b.how = {call.dtype, call.op, call.user};
  b.stream = passes_caches(call);
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
  if (mine.details != 0) add_note(p);
  const bool uneven_all_to_all = !p.call.send_counts.empty();
  if (setup_.size == 1 || spans_nodes_ || uneven_all_to_all) return run_agreed(p, deadline, mine);
  node_->set_operation(&mine, algorithm_name(p.call.algorithm).c_str());
  node_->announce(mine);
  Binding staged = bind(p, *p.staged_layout);
  const int tag = static_cast<int>(sequence_ % 4096);
  if (!runs_direct(p)) {
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
    for (const Edge& e : p.edges) std::memcpy(e.mirror, e.own, e.bytes);
    node_->meet(deadline);
    act_on(compare_on_node(mine), mine);
    if (all_registered(mine)) return run_direct(p, deadline, tag);
  }
  node_->realign();
  engine_.run(*p.staged, staged, deadline, {}, false, tag);  // registered here, private there: staging serves all
}

void Communicator::run_agreed(const Prepared& p, const Deadline& deadline, const Fingerprint& mine) {
  if (Cargo cargo; carries(p, cargo)) return run_carried(p, cargo, deadline, mine);
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

void Communicator::execute(const Prepared& p, std::uint64_t ticket) {
  guarded(p.call.timeout, ticket, [&](const Deadline& deadline) {
    try {
      run(p, deadline);
    } catch (const Unheard& error) {
      time_out(fingerprint(p), error, deadline);
    } catch (const PeerLost& error) {
      if (std::strchr(error.what(), '#') != nullptr) throw;  // names the operation already
      throw PeerLost(error.what() + (" during " + describe_call(fingerprint(p))), error.rank);
    }
    if (p.call.op == OpKind::User && reduces(p.call.kind)) confirm_user_function(fingerprint(p), deadline);
  });
}

void Communicator::agree_to_split(double timeout, std::uint64_t ticket) { agree_to(kSplit, 0, timeout, ticket); }

void Communicator::agree_to_group(std::size_t collectives, std::uint64_t ticket) {
  agree_to(kGroup, static_cast<std::int64_t>(collectives), -1, ticket);
}

void Communicator::agree_to(std::uint8_t kind, std::int64_t count, double timeout, std::uint64_t ticket) {
  guarded(timeout, ticket, [&](const Deadline& deadline) {
    if (setup_.size == 1) return;
    Fingerprint mine;
    mine.kind = kind;
    mine.count = count;
    mine.sequence = sequence_;
    act_on(agree(mine, deadline), mine);
  });
}

void Communicator::refuse(const std::string& reason, double timeout, std::uint64_t ticket) {
  guarded(timeout, ticket, [&](const Deadline& deadline) {
    flight_.fail(ticket, reason);
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
