#include <stdexcept>
#include <string>
#include <utility>

#include "sim/graph_state.h"

namespace pyccl::sim {

void Replay::come(Ref ref) {
  begin(ref);
  const int group = column(ref).group[at(ref)], call = column(ref).call[at(ref)];
  const int gathering = graph_.gathering(ref.rank, group), place = graph_.place(ref.rank, group);
  const int index = meeting(gathering, group, graph_.links(ref.rank).ordinal[at(ref)], ref);
  Meeting& m = meetings_[index];
  if (m.call != call)
    throw std::invalid_argument("rank " + std::to_string(ref.rank) + " node " + std::to_string(ref.node) +
                                " meets another collective, of other bytes or with another root");
  m.nodes[place] = ref.node;
  m.last = ref;
  ++m.came;
  if (m.players) {
    m.players->begin(place);
    if (m.players->left(place) == 0) leave(index, place);
    after(index);
  } else if (m.came == m.size) {
    for (int p = 0; p < m.size; ++p) {
      const Ref member{graph_.member(gathering, group, p), m.nodes[p]};
      if (m.measured && column(member).duration[at(member)] > 0) {
        explain(m, member);
        push(column(member).duration[at(member)], kEnded, member.rank, member.node);
      } else {
        leave(index, p);
      }
    }
    close(index);
  }
}

int Replay::meeting(int gathering, int group, int ordinal, Ref first) {
  const std::uint64_t key =
      (std::uint64_t{static_cast<std::uint32_t>(gathering)} << 32) | static_cast<std::uint32_t>(ordinal);
  const auto [found, fresh] = open_.try_emplace(key, 0);
  if (!fresh) return found->second;
  if (free_meetings_.empty()) {
    free_meetings_.push_back(static_cast<int>(meetings_.size()));
    meetings_.emplace_back();
  }
  const int index = found->second = free_meetings_.back();
  free_meetings_.pop_back();
  Meeting& m = meetings_[index];
  m = {gathering,
       group,
       column(first).call[at(first)],
       graph_.members(group),
       0,
       0,
       takes_measured(first),
       key,
       first,
       {},
       {},
       nullptr,
       0};
  m.left = m.size;
  m.nodes.assign(m.size, kNobody);
  const int number = set_.table[static_cast<std::size_t>(m.call) * set_.nclasses + set_.classes[gathering]];
  const Call& call = set_.calls.at(static_cast<std::size_t>(number));
  if (m.measured || !call.play) return index;
  m.memory = static_cast<std::int64_t>(Players<Wire>::memory(*call.play));
  charge(m.memory);
  m.messages.resize(m.size);
  m.players = std::make_unique<Players<Wire>>(*call.play, call.terms, Wire{this, index});
  return index;
}

void Replay::carry(int index, int place, int to, double bytes) {
  Meeting& m = meetings_[index];
  m.messages[place] =
      make({graph_.member(m.gathering, m.group, place), graph_.member(m.gathering, m.group, to), index, place, bytes});
  depart(m.messages[place]);
}

void Replay::delivered(int index, int place) {
  Meeting& m = meetings_[index];
  free_messages_.push_back(m.messages[place]);
  m.players->delivered(place);
  after(index);
}

void Replay::after(int index) {
  Meeting& m = meetings_[index];
  if (m.left == 0) return close(index);
  if (m.players->quiet() && !m.players->overtake()) m.players->check_ended();
}

void Replay::leave(int index, int place) {
  Meeting& m = meetings_[index];
  const Ref ref{graph_.member(m.gathering, m.group, place), m.nodes[place]};
  explain(m, ref);
  --m.left;
  end(ref);
}

void Replay::close(int index) {
  Meeting& m = meetings_[index];
  open_.erase(m.key);
  memory_ -= m.memory;
  m = {};
  free_meetings_.push_back(index);
}

}  // namespace pyccl::sim
