// A group of ranks that calls collectives in one order.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "comm/call.h"
#include "comm/exchange.h"
#include "comm/flight.h"
#include "comm/health.h"
#include "comm/registered.h"
#include "core/error.h"
#include "engine/fingerprint.h"
#include "engine/stall.h"
#include "shm/node.h"

namespace pyccl {

struct CountsExchange;

/// A call with everything looked up: what runs without the GIL and without Python.
struct Prepared {
  Call call;
  std::shared_ptr<const Program> staged, direct, carried;
  std::shared_ptr<const Layout> staged_layout, direct_layout;
  std::uint32_t digest = 0;  // of users' schedules
  std::shared_ptr<Region> input_region, output_region;
  std::vector<char*> peer_inputs, peer_outputs;  // by rank; empty without a direct program
  std::vector<Edge> edges;                       // of registered arrays, this rank's
  std::uint64_t input_key = 0, output_key = 0;   // of the fingerprint of the direct program
  std::shared_ptr<CountsExchange> counts;        // of an all_to_all with uneven counts
};

/// Before an uneven all_to_all every rank learns what every other sends and expects: those who pass chunks on must know
/// their sizes, and all must see when two ranks disagree.
struct CountsExchange {
  std::vector<std::int64_t> own, all;  // per rank: its send_counts, then its recv_counts
  Prepared gather;
};

class Communicator {
 public:
  struct Setup {
    int rank = 0, size = 1;
    std::vector<int> nodes{0};  // node of every rank
    double timeout = 300;
  };
  Communicator(Setup setup, std::unique_ptr<shm::Node> node, std::shared_ptr<Remote> remote,
               std::vector<Link> links = {});

  int rank() const { return setup_.rank; }
  int size() const { return setup_.size; }
  const std::vector<int>& nodes() const { return setup_.nodes; }
  shm::Node* node() const { return node_.get(); }
  double timeout() const { return setup_.timeout; }
  /// Called in every wait, at least every 50 ms; may throw.
  void set_poll(std::function<void()> poll) { interrupt_ = std::move(poll); }
  /// Who hears of waits that last longer than `stall` seconds, and of operations that fail. Called by the thread that
  /// runs the operation.
  void set_observer(double stall, Stall::Report stalled, std::function<void(const Error&)> failed);

  Flight& flight() { return flight_; }
  /// Enters what is about to be called in the record; with the GIL, like Flight::open.
  std::uint64_t enter(const Call& call, FlightState state, std::int32_t place) {
    return flight_.open(FlightEntry::of(call, setup_.size), state, place);
  }
  void enter(std::vector<MessageCall>& messages, FlightState state, std::int32_t place) {
    for (MessageCall& m : messages) m.ticket = flight_.open(FlightEntry::of(m), state, place);
  }
  /// The number in the record of the collective that runs; 0 if none does.
  std::uint64_t running() const { return running_.load(std::memory_order_relaxed); }
  Health& health() { return health_; }
  /// Any thread, at any time: every rank's present and later operations raise PeerAborted with the reason.
  void abort(const std::string& reason) { give_up(shm::Broken::Aborted, reason); }
  void interrupt(const std::string& reason) { give_up(shm::Broken::Interrupted, reason); }

  /// Names of algorithms have the same indices on every rank.
  int algorithm_index(const std::string& name);
  const std::string& algorithm_name(int index) const { return algorithms_.at(static_cast<std::size_t>(index)); }
  /// Which algorithm a size in bytes takes, ascending by max_bytes; the last entry serves all larger sizes.
  struct Choice {
    std::int64_t max_bytes;
    int algorithm;
  };
  void set_choices(Collective kind, bool registered, std::vector<Choice> choices);
  int choose(Collective kind, bool registered, std::int64_t bytes) const;

  /// Programs are compiled once per (collective, algorithm, root).
  bool has_program(Collective kind, int algorithm, int root) const;
  void add_program(int algorithm, const Schedule& schedule);

  /// Looks everything up; needs the GIL. When a program is missing returns false and leaves the call that wants it,
  /// with its algorithm, in `prepared.call`.
  bool prepare(Prepared& prepared);
  /// Runs it; any thread, without the GIL. Calls are serialised in the order in which they come. `ticket` is the number
  /// in the record that `enter` has given, here and below.
  void execute(const Prepared& prepared, std::uint64_t ticket);
  /// Takes part in the next operation by refusing it: its peers raise PeerAborted(rank, reason), nothing is moved.
  void refuse(const std::string& reason, double timeout, std::uint64_t ticket);

  /// Returns once all ranks have come to split; what they do then is the bootstrap's.
  void agree_to_split(double timeout, std::uint64_t ticket);
  /// The same for a group of `collectives`: one that a rank cannot launch, none does.
  void agree_to_group(std::size_t collectives, std::uint64_t ticket);

  /// Sends and receives; returns when all are done. They progress together, each pair of ranks in its order.
  void transfer(std::vector<MessageCall> messages);
  /// The same for asynchronous messages, of which more may come meanwhile; whoever adds one calls `wake`.
  void serve(Batch& batch);
  void wake();

  /// Collective: memory of `bytes` bytes on every rank, mapped by all ranks of the node.
  std::shared_ptr<Region> allocate(std::int64_t bytes, double timeout, std::uint64_t ticket);
  /// Collective: makes private memory registered where it lies. `why` is a reason, known to the caller, to refuse it.
  /// Throws std::invalid_argument where this rank's memory does not allow it; nothing has changed after any exception.
  std::shared_ptr<Region> adopt(void* data, std::int64_t bytes, std::string why, double timeout, std::uint64_t ticket);
  /// Makes it private again; on this rank alone, at any time. Throws CommError when memory is short.
  void release(Region& region);
  /// How many operations have gone without the staging area.
  std::uint64_t direct_runs() const { return direct_runs_; }
  /// How many operations between nodes the agreement has carried along.
  std::uint64_t carried_runs() const { return carried_runs_; }
  Regions& regions() { return regions_; }
  /// Changes with everything that a Prepared call was looked up in.
  std::uint64_t generation() const { return generation_ + regions_.generation(); }

 private:
  struct Key {
    Collective kind;
    int algorithm;
    int root;
    auto operator<=>(const Key&) const = default;
  };
  struct Compiled {
    Schedule schedule;
    std::shared_ptr<const Program> staged;
    std::shared_ptr<const Program> carried;    // of one round, between nodes: as if all ranks were one node
    std::shared_ptr<const Program> direct[4];  // by input_registered + 2 * output_registered
    bool direct_tried[4] = {};
    std::shared_ptr<const Layout> layout[2];  // the last one used, staged and direct
    std::int64_t layout_count = -1;
  };
  struct Verdict;
  struct Cargo;
  struct Carrier;

  void share(Region& region, const shm::Descriptor& memory, std::int64_t start, const Fingerprint& mine,
             const Deadline& deadline);
  void confirm(Fingerprint mine, const std::string& failure, const Deadline& deadline);
  bool prepare_direct(Prepared& prepared, Compiled& staged, bool automatic);
  bool runs_direct(const Prepared& prepared) const;
  void run_direct(const Prepared& prepared, const Deadline& deadline, int tag);
  Fingerprint fingerprint(const Prepared& prepared) const;
  void agree_to(std::uint8_t kind, std::int64_t count, double timeout, std::uint64_t ticket);
  void add_note(const Prepared& prepared);
  void run(const Prepared& prepared, const Deadline& deadline);
  void run_agreed(const Prepared& prepared, const Deadline& deadline, const Fingerprint& mine);
  std::shared_ptr<const Program> compile_carried(const Schedule& schedule) const;
  bool carries(const Prepared& prepared, Cargo& cargo) const;
  void run_carried(const Prepared& prepared, Cargo& cargo, const Deadline& deadline, const Fingerprint& mine);
  bool prepare_counts(Prepared& prepared);
  Layout exchange_counts(const Prepared& prepared, const Deadline& deadline);
  bool all_registered(const Fingerprint& mine) const;
  bool any_registered() const;
  Verdict compare_on_node(const Fingerprint& mine) const;
  void agree_between_nodes(Verdict& verdict, const Deadline& deadline, const Cargo* cargo);
  int speaks_for() const;
  void report_missing(const std::vector<int>& ranks, const std::string& text);
  std::string describe_missing(const std::vector<int>& ranks) const;
  Verdict agree(const Fingerprint& mine, const Deadline& deadline, const Cargo* cargo = nullptr);
  void act_on(const Verdict& verdict, const Fingerprint& mine) const;
  void confirm_user_function(const Fingerprint& mine, const Deadline& deadline);
  void settle(Pending& wanted, Pending& others, int from, const Deadline& deadline);
  std::string describe_call(const Fingerprint& f) const;
  bool passes_caches(const Call& call) const;
  Binding bind(const Prepared& p, const Layout& layout);
  void check_usable() const;
  void give_up(shm::Broken kind, const std::string& reason);
  void await_word();
  void break_with(const std::exception& error);
  void tell(const std::exception& error);
  [[noreturn]] void time_out(const Fingerprint& mine, const Unheard& error, const Deadline& deadline) const;
  void drive(const std::shared_ptr<Job>& job, Batch* batch);
  void guarded(double timeout, std::uint64_t ticket, const std::function<void(const Deadline&)>& operation);
  void perform(double timeout, std::uint64_t ticket, const std::function<void(const Deadline&)>& operation);

  Setup setup_;
  std::unique_ptr<shm::Node> node_;
  std::shared_ptr<Remote> remote_;
  Engine engine_;
  Flight flight_;
  std::atomic<std::uint64_t> running_ = 0;
  bool told_ = false;  // what has broken the communicator
  std::function<void(const Error&)> failed_;
  Stall stall_;  // of waits for other nodes
  std::uint64_t settles_ = 0;
  Health health_;
  std::function<void()> interrupt_, poll_, carry_;
  Exchange exchange_;
  std::vector<std::string> algorithms_;
  std::vector<Choice> choices_[2][kCollectives];
  std::map<Key, Compiled> programs_;
  Scratch premultiplied_, words_, blocks_;
  std::vector<std::vector<int>> by_node_;  // ranks; the first of each speaks for its node
  Regions regions_;
  std::uint64_t generation_ = 1;
  std::uint32_t next_region_ = 1;
  std::uint64_t direct_runs_ = 0, carried_runs_ = 0;
  std::mutex order_;
  std::uint32_t sequence_ = 0;
  bool spans_nodes_ = false;
  int looks_ = 500;      // for a message, before sleeping: more where no rank of the node waits for this core
  std::string refusal_;  // of the refused call that is being announced
  std::string note_;     // of the call that is being announced
};

}  // namespace pyccl
