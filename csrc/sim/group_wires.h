// Messages in groups that share the network alike: max-min fair between groups, virtual time within each.
#pragma once

#include <vector>

#include "sim/agenda.h"
#include "sim/heap.h"
#include "sim/network.h"
#include "sim/ways.h"
#include "sim/wires.h"

namespace pyccl::sim {

/// An event costs as much as there are groups, however many messages are under way.
class GroupWires final : public Wires {
 public:
  /// `push`, `pull`: bytes of a message; `apply`: seconds that servers need for a push, one push after the other.
  GroupWires(Ways ways, std::vector<double> capacity, double push, double pull, double apply, std::uint32_t slots);

  void send(std::uint32_t slot, std::uint32_t client, Way way, double now) override;
  Split so_far(std::uint32_t slot, double now) override;
  void cancel(std::uint32_t slot, double now) override;
  double next(double other) override;
  bool advance(Arrival& arrival) override;

  std::size_t groups() const { return ways_.groups.size(); }

 private:
  struct Message {
    Way way = Way::Push;
    bool moving = false;
    std::uint32_t client = 0;
    std::uint32_t attempt = 0;  // events of earlier ones are void
    double since = 0;
  };
  /// Virtual time of a group is what each of its messages has moved since the beginning.
  struct Pace {
    double moved = 0, since = 0, rate = 0;
    std::uint32_t open = 0;
    bool dirty = false;
    Heap ends;
    void advance(double now) {
      if (open > 0) moved += rate * (now - since);
      since = now;
    }
  };

  std::uint32_t group_of(const Message& message) const {
    return (message.way == Way::Push ? ways_.up : ways_.down)[message.client];
  }
  void resize(std::uint32_t group, std::uint32_t open);
  void refresh(std::uint32_t group);
  void drop_void();
  void moved(std::uint32_t group);
  bool finish(std::uint32_t slot, Arrival& arrival);

  Ways ways_;
  Network network_;
  double push_, pull_, apply_, free_ = 0, now_ = 0;
  std::vector<Message> messages_;  // of slots
  std::vector<Pace> paces_;        // of groups
  std::vector<std::uint32_t> dirty_;
  Agenda ends_;   // of groups: when the next message ends
  Heap landing_;  // of messages
};

}  // namespace pyccl::sim
