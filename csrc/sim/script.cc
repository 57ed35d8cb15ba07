#include "sim/script.h"

#include <algorithm>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>

namespace pyccl::sim {
namespace {

using Key = std::pair<int, int>;  // sender and receiver; rotating: 0 and the distance

[[noreturn]] void fail(int rank, const std::string& what) {
  throw std::invalid_argument("schedule: rank " + std::to_string(rank) + " " + what);
}

bool receives(const Step& step) { return step.kind == StepKind::Recv || step.kind == StepKind::RecvReduce; }

class Lowering {
 public:
  Lowering(const std::vector<std::vector<Step>>& ranks, Play& play) : ranks_(ranks), play_(play) {}

  void run() {
    pair_up();
    mark_runs();
    for (std::size_t r = 0; r < ranks_.size(); ++r) write_ops(static_cast<int>(r));
    for (std::size_t r = 0; r < ranks_.size(); ++r) write_letters(static_cast<int>(r));
    for (std::size_t r = 0; r < ranks_.size(); ++r) write_hazards(static_cast<int>(r));
  }

 private:
  struct Place { int rank, step; };
  struct Channel { std::vector<Place> sent, received; };

  int distance(int from, int to) const { return to >= from ? to - from : to - from + play_.size; }
  Key key(int sender, int receiver) const {
    return play_.rotates ? Key{0, distance(sender, receiver)} : Key{sender, receiver};
  }

  /// First in, first out: the k-th message that a rank sends to another one is the k-th that this one receives.
  void pair_up() {
    for (std::size_t r = 0; r < ranks_.size(); ++r) {
      const int me = static_cast<int>(r);
      for (std::size_t i = 0; i < ranks_[r].size(); ++i) {
        const Step& step = ranks_[r][i];
        for (const int peer : step.peers) {
          if (receives(step)) channels_[key(peer, me)].received.push_back({me, static_cast<int>(i)});
          else channels_[key(me, peer)].sent.push_back({me, static_cast<int>(i)});
        }
      }
    }
    for (auto& [key, channel] : channels_) {
      const auto& [sender, receiver] = key;
      if (channel.sent.size() > channel.received.size())
        fail(sender, "sends to rank " + std::to_string(receiver) + " what is never received");
      if (channel.sent.size() < channel.received.size())
        fail(receiver, "waits for a message that rank " + std::to_string(sender) + " never sends");
      const int shift = play_.rotates ? play_.size - receiver : 0;  // the sender is so far to the right of the receiver
      for (std::size_t k = 0; k < channel.sent.size(); ++k) {
        const Step& out = ranks_[channel.sent[k].rank][channel.sent[k].step];
        const Step& in = ranks_[channel.received[k].rank][channel.received[k].step];
        if (play_.chunk_of(shift, out.chunk) != in.chunk)
          fail(receiver, "receives another chunk than rank " + std::to_string(sender) + " sends");
      }
      if (channel.sent.empty()) continue;
      numbers_[key] = static_cast<int>(play_.pair_src.size());
      play_.pair_src.push_back(sender);
      play_.pair_dst.push_back(receiver);
    }
  }

  /// A step continues the one before it if both sides of each of its messages see it so.
  void mark_runs() {
    joins_.resize(ranks_.size());
    for (std::size_t r = 0; r < ranks_.size(); ++r) {
      const auto& steps = ranks_[r];
      joins_[r].assign(steps.size(), 0);
      for (std::size_t i = 1; i < steps.size(); ++i) {
        joins_[r][i] =
            !steps[i].peers.empty() && steps[i].kind == steps[i - 1].kind && steps[i].peers == steps[i - 1].peers;
      }
    }
    for (bool cut = true; cut;) {
      cut = false;
      for (const auto& [key, channel] : channels_) {
        for (std::size_t k = 0; k < channel.sent.size(); ++k) {
          char& out = joins_[channel.sent[k].rank][channel.sent[k].step];
          char& in = joins_[channel.received[k].rank][channel.received[k].step];
          if (out == in) continue;
          out = in = 0;
          cut = true;
        }
      }
    }
  }

  void write_ops(int r) {
    Script& script = play_.scripts[r];
    const auto& steps = ranks_[r];
    op_of_.emplace_back(steps.size());
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const Step& step = steps[i];
      if (!joins_[r][i]) {
        const int at = static_cast<int>(script.distances.size()), chunk = static_cast<int>(script.chunks.size());
        script.ops.push_back({step.kind, at, at, chunk, chunk, 0, 0});
        if (receives(step)) {
          for (const int peer : step.peers) script.distances.push_back(distance(r, peer));
          script.ops.back().peers_end = static_cast<int>(script.distances.size());
        }
      }
      script.chunks.push_back(step.chunk);
      script.ops.back().chunks_end = static_cast<int>(script.chunks.size());
      op_of_[r][i] = static_cast<int>(script.ops.size()) - 1;
    }
  }

  void write_letters(int r) {
    Script& script = play_.scripts[r];
    for (std::size_t i = 0; i < ranks_[r].size(); ++i) {
      const Step& step = ranks_[r][i];
      if (step.kind != StepKind::Send) continue;
      const int op = op_of_[r][i];
      std::vector<Letter> letters;
      for (const int peer : step.peers) {
        Channel& channel = channels_[key(r, peer)];
        const Place to = channel.received[taken_[key(r, peer)]++];
        letters.push_back({op, distance(r, peer), numbers_[key(r, peer)], op_of_[to.rank][to.step]});
      }
      if (joins_[r][i]) continue;
      // Nearest to the right first: if all send to all, no two begin with the same receiver.
      std::ranges::sort(letters, {}, &Letter::distance);
      script.ops[op].peers_begin = static_cast<int>(script.letters.size());
      script.letters.insert(script.letters.end(), letters.begin(), letters.end());
      script.ops[op].peers_end = static_cast<int>(script.letters.size());
    }
  }

  /// Hazards on chunks, as in pyccl/schedule/views.py; but a message is what its chunk was when it was issued, as in
  /// the runtime, which publishes before it consumes: nothing waits for a send.
  void write_hazards(int r) {
    Script& script = play_.scripts[r];
    std::vector<std::pair<int, int>> edges;  // (before, after)
    const auto chunks = static_cast<std::size_t>(play_.nchunks);
    std::vector<int> writer(chunks, -1), reader(chunks, -1);
    std::vector<std::pair<int, int>> readings;  // (operation, the reading before it of the same chunk)
    const auto& steps = ranks_[r];
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const Step& step = steps[i];
      const int op = op_of_[r][i];
      const bool local = step.kind == StepKind::Copy || step.kind == StepKind::Reduce;
      const bool reads_own = step.kind != StepKind::Recv && step.kind != StepKind::Copy;
      const auto after_writer = [&](int chunk) {
        if (writer[chunk] >= 0) edges.push_back({writer[chunk], op});
      };
      const auto note_reading = [&](int chunk) {
        readings.push_back({op, reader[chunk]});
        reader[chunk] = static_cast<int>(readings.size()) - 1;
      };
      if (reads_own) after_writer(step.chunk);
      if (local) after_writer(step.source_chunk);
      if (step.kind == StepKind::Send) continue;
      if (reader[step.chunk] < 0) after_writer(step.chunk);
      for (int at = reader[step.chunk]; at >= 0; at = readings[at].second) edges.push_back({readings[at].first, op});
      reader[step.chunk] = -1;
      writer[step.chunk] = op;
      if (local && step.source_chunk != step.chunk) note_reading(step.source_chunk);
    }
    std::erase_if(edges, [](const auto& edge) { return edge.first == edge.second; });
    std::sort(edges.begin(), edges.end());
    edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
    std::size_t at = 0;
    for (std::size_t op = 0; op < script.ops.size(); ++op) {
      script.ops[op].next_begin = static_cast<int>(at);
      for (; at < edges.size() && edges[at].first == static_cast<int>(op); ++at) {
        script.next.push_back(edges[at].second);
        ++script.ops[edges[at].second].waits;
      }
      script.ops[op].next_end = static_cast<int>(at);
    }
  }

  const std::vector<std::vector<Step>>& ranks_;
  Play& play_;
  std::map<Key, Channel> channels_;
  std::map<Key, int> numbers_;
  std::map<Key, std::size_t> taken_;
  std::vector<std::vector<char>> joins_;
  std::vector<std::vector<int>> op_of_;
};

}  // namespace

int Play::chunk_of(int rank, int chunk) const {
  if (nchunks == 1 || rank == 0) return chunk;
  const auto shift = [&](int index) { return index + rank < size ? index + rank : index + rank - size; };
  if (nchunks == size) return shift(chunk);
  return shift(chunk / size) * size + shift(chunk % size);
}

Play lower(const std::vector<std::vector<Step>>& ranks, int size, int nchunks, bool rotates) {
  Play play;
  play.size = size;
  play.nchunks = nchunks;
  play.rotates = rotates;
  play.scripts.resize(ranks.size());
  if (rotates && nchunks != 1 && nchunks != size && nchunks != static_cast<std::int64_t>(size) * size)
    throw std::invalid_argument("a schedule that rotates has 1, size or size * size chunks");
  Lowering(ranks, play).run();
  return play;
}

std::vector<double> traffic(const Play& play, const std::vector<double>& chunk_bytes) {
  std::vector<double> bytes(static_cast<std::size_t>(play.pairs()));
  for (int rank = 0; rank < play.size; ++rank) {
    const Script& script = play.of(rank);
    for (const Letter& letter : script.letters) {
      double& sum = bytes[static_cast<std::size_t>(play.pair(rank, letter.pair))];
      const Operation& op = script.ops[letter.op];
      for (int i = op.chunks_begin; i < op.chunks_end; ++i) {
        const int chunk = play.rotates ? play.chunk_of(rank, script.chunks[i]) : script.chunks[i];
        sum += chunk_bytes[chunk_bytes.size() == 1 ? 0 : static_cast<std::size_t>(chunk)];
      }
    }
  }
  return bytes;
}

}  // namespace pyccl::sim
