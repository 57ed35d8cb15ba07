// What goes to another node.
#include <algorithm>

#include "engine/deadline.h"
#include "server/courier.h"

namespace pyccl::server {
namespace {

constexpr double kCounting = 0.05;  // seconds between two reports of what a server has counted

}  // namespace

/// One parcel is under way at a time, with all that belongs to it.
bool Courier::send(Peer& peer) {
  bool moved = false;
  while (!peer.sending.empty() && remote_->test(peer.sending.back())) {
    peer.sending.pop_back();
    moved = true;
  }
  if (!peer.sending.empty()) return moved;
  for (auto& [place, way] : peer.ways) way.gone = way.sent;
  if (!pack(peer)) return moved;
  const std::vector<char>& bytes = peer.packing.bytes();
  peer.sending.push_back(remote_->send(bytes.data(), std::ssize(bytes), peer.rank, 0));
  carried_.sent += std::ssize(bytes);
  for (const auto& [payload, n] : peer.packing.apart()) {
    peer.sending.push_back(remote_->send(payload, n, peer.rank, 1));
    carried_.sent += n;
  }
  // Known from the next parcel on: in this one they may come after what would refer to them.
  for (const Record* record : peer.telling) peer.told.add(record->payload(), key_bytes(*record));
  peer.telling.clear();
  return true;
}

/// Fills the next parcel: answers first, which give credit. False if there is nothing to send.
bool Courier::pack(Peer& peer) {
  Packing& packing = peer.packing;
  packing.clear();
  if (peer.bye_sent) return false;
  if (!note(peer)) return true;
  for (auto& [place, lane] : peer.lanes) {
    const std::uint64_t done = lane.ring->tail.load(std::memory_order_acquire);
    while (lane.answered < done) {
      const Record& record = lane.ring->at(lane.answered);
      const bool filler = record.kind == Kind::Filler;
      if (!filler && !packing.put(What::Answer, place, record, answer_part(record))) return true;
      lane.answered += record.bytes;
    }
  }
  for (auto& [place, way] : peer.ways) {
    const std::uint64_t head = way.ring->head.load(std::memory_order_acquire);
    while (way.sent < head) {
      const Record& record = way.ring->at(way.sent);
      if (!pack_request(peer, way, record)) return true;
      way.sent += record.bytes;
    }
  }
  if (parting_ && packing.empty() && !peer.bye_sent) peer.bye_sent = packing.put_note(What::Bye);
  return !packing.empty();
}

/// False if the parcel is full.
bool Courier::pack_request(Peer& peer, const Way& way, const Record& record) {
  const std::int64_t ids = key_bytes(record);
  const std::uint64_t known = peer.told.find(record.payload(), ids);
  if (!peer.packing.put(What::Request, way.place, record, request_part(record, known != 0), known)) return false;
  if (known != 0) carried_.spared += ids;
  else if (KeyCache::keeps(ids)) peer.telling.push_back(&record);
  return true;
}

/// What is new of this rank; false if the parcel is full.
bool Courier::note(Peer& peer) {
  Packing& packing = peer.packing;
  const int me = group_->own_server();
  if (!peer.closing_told && group_->own_line().closing.load(std::memory_order_acquire))
    peer.closing_told = packing.put_note(What::Closing);
  for (int shard = 0; shard < group_->shards(); ++shard) {
    const auto i = static_cast<std::size_t>(shard);
    const auto number = static_cast<std::uint32_t>(shard);
    const bool ready = me >= 0 && group_->ready(shard, me).load(std::memory_order_acquire);
    if (me >= 0 && ready != (peer.ready_told[i] != 0)) {
      if (!packing.put_note(What::Ready, number, ready)) return false;
      peer.ready_told[i] = ready ? 1 : 0;
    }
    if (peer.lost_told[i] == 0 && group_->lost(shard).load(std::memory_order_acquire)) {
      if (!packing.put_note(What::Lost, number)) return false;
      peer.lost_told[i] = 1;
    }
  }
  for (int rank = 0; rank < group_->size(); ++rank) {
    char& told = peer.silent_told[static_cast<std::size_t>(rank)];
    if (told != 0 || !group_->line(rank).silent.load(std::memory_order_acquire)) continue;
    if (!packing.put_note(What::Silent, static_cast<std::uint32_t>(rank))) return false;
    told = 1;
  }
  return me < 0 || count(peer);
}

bool Courier::count(Peer& peer) {
  if (monotonic_seconds() < peer.counted_at + kCounting) return true;
  peer.counted_at = monotonic_seconds();
  Numbers now;
  std::ranges::transform(group_->counters(group_->own_server()).all(), now.begin(),
                         [](auto* one) { return one->load(); });
  if (std::equal(now.begin(), now.end(), peer.counted.begin(), peer.counted.end())) return true;
  if (!peer.packing.put_values(What::Count, now)) return false;
  peer.counted.assign(now.begin(), now.end());
  return true;
}

}  // namespace pyccl::server
