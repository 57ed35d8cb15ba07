// What comes from another node. Nothing of it is believed before it has been compared with what may come.
#include <cstring>
#include <stdexcept>
#include <string>

#include "server/courier.h"

namespace pyccl::server {
namespace {

[[noreturn]] void damaged(int rank, const std::string& what) {
  throw std::runtime_error("a parcel from rank " + std::to_string(rank) + " is damaged: " + what);
}

}  // namespace

void Courier::listen(Peer& peer) {
  peer.arriving = remote_->recv(peer.parcel.data(), kParcelBytes, peer.rank, 0, &peer.arrived);
}

/// Takes in what has come whole.
bool Courier::receive(Peer& peer) {
  if (peer.bye_heard) return false;
  if (peer.arriving < 0 && peer.landing.empty()) listen(peer);
  if (peer.arriving >= 0) {
    if (!remote_->test(peer.arriving)) return false;
    peer.arriving = -1;
    unpack(peer);
  }
  while (!peer.landing.empty()) {
    if (!remote_->test(peer.landing.back())) return false;
    peer.landing.pop_back();
  }
  for (const Record* record : peer.hearing) peer.heard.add(record->payload(), key_bytes(*record));
  peer.hearing.clear();
  for (auto& [place, lane] : peer.lanes) {
    if (lane.published == lane.received) continue;
    lane.published = lane.received;
    lane.ring->head.store(lane.received, std::memory_order_seq_cst);
  }
  group_->knock(group_->rank());
  if (!peer.bye_heard) listen(peer);
  return true;
}

/// Tells writers what is done. The library has let go of its bytes before they are written again.
bool Courier::settle(Peer& peer) {
  if (!peer.landing.empty()) return false;  // an answer may still be coming
  bool moved = false;
  for (auto& [place, way] : peer.ways) {
    if (way.settled == way.answered || way.answered > way.gone) continue;
    way.settled = way.answered;
    way.ring->tail.store(way.answered, std::memory_order_seq_cst);
    moved = true;
  }
  if (moved) group_->knock(group_->rank());
  return moved;
}

void Courier::unpack(Peer& peer) {
  Unpacking in(peer.parcel.data(), peer.arrived);
  while (!in.empty()) {
    const auto entry = in.take<Entry>();
    if (entry.what == What::Request) take_request(peer, entry, in);
    else if (entry.what == What::Answer) take_answer(peer, entry, in);
    else take_note(peer, entry, in);
  }
}

void Courier::take_payload(Peer& peer, const Entry& entry, Unpacking& in, char* to) {
  if (entry.apart != 0) peer.landing.push_back(remote_->recv(to, entry.bytes, peer.rank, 1));
  else in.copy(to, entry.bytes);
}

void Courier::take_request(Peer& peer, const Entry& entry, Unpacking& in) {
  Lane& to = lane(peer, entry.place);
  const auto record = in.take<Record>();
  const std::uint64_t done = to.ring->tail.load(std::memory_order_acquire), begin = to.received % kRingBytes;
  if (record.bytes < sizeof(Record) || record.bytes % 64 != 0 || begin + record.bytes > kRingBytes ||
      to.received + record.bytes > done + kRingBytes || record.count < 0)
    damaged(peer.rank, "a record of " + std::to_string(record.bytes) + " bytes");
  const Part part = request_part(record, entry.keys != 0);
  if (key_bytes(record) > payload_room(record) || part.bytes != entry.bytes)
    damaged(peer.rank, std::to_string(entry.bytes) + " bytes for a record");
  Record& here = to.ring->at(to.received);
  here = record;
  if (entry.keys != 0) {
    const std::vector<char>* ids = peer.heard.at(entry.keys);
    if (ids == nullptr || std::ssize(*ids) != key_bytes(record)) damaged(peer.rank, "it refers to ids not sent before");
    std::memcpy(here.payload(), ids->data(), ids->size());
  } else if (KeyCache::keeps(key_bytes(record))) {
    peer.hearing.push_back(&here);
  }
  take_payload(peer, entry, in, here.payload() + part.begin);
  to.received += record.bytes;
}

void Courier::take_answer(Peer& peer, const Entry& entry, Unpacking& in) {
  const auto found = peer.ways.find(entry.place);
  if (found == peer.ways.end()) damaged(peer.rank, "an answer for a ring that nobody writes");
  Way& way = found->second;
  const auto record = in.take<Record>();
  while (way.answered < way.sent && way.ring->at(way.answered).kind == Kind::Filler)
    way.answered += way.ring->at(way.answered).bytes;
  if (way.answered >= way.sent) damaged(peer.rank, "an answer to nothing");
  Record& here = way.ring->at(way.answered);
  if (record.bytes != here.bytes || record.kind != here.kind || record.sequence != here.sequence ||
      record.shard != here.shard || record.table != here.table || record.client != here.client ||
      record.count != here.count || (record.kind == Kind::Export && (record.piece < 0 || record.piece > here.count)))
    damaged(peer.rank, "an answer to another request");
  const Part part = answer_part(record);
  if (part.bytes != entry.bytes) damaged(peer.rank, std::to_string(entry.bytes) + " bytes in an answer");
  here = record;
  take_payload(peer, entry, in, here.payload() + part.begin);
  way.answered += here.bytes;
}

void Courier::take_note(Peer& peer, const Entry& entry, Unpacking& in) {
  const int shard = static_cast<int>(entry.place),
            most = entry.what == What::Silent ? group_->size() : group_->shards();
  if (shard < 0 || shard >= most) damaged(peer.rank, "a note on no shard");
  switch (entry.what) {
    case What::Closing: group_->line(peer.rank).closing.store(true, std::memory_order_release); return;
    case What::Bye: peer.bye_heard = true; return;
    case What::Silent:
      group_->miss(shard);
      if (shard != group_->rank()) return;
      throw std::runtime_error("rank " + std::to_string(peer.rank) +
                               " hears nothing of some rank, and that is this one");
    case What::Lost: return group_->lose(shard);
    case What::Ready:
      if (peer.server < 0) break;
      return group_->ready(shard, peer.server).store(entry.apart != 0, std::memory_order_release);
    case What::Count: {
      if (peer.server < 0 || entry.bytes != sizeof(Numbers)) break;
      const auto counted = in.take<Numbers>();
      const auto to = group_->counters(peer.server).all();
      for (std::size_t i = 0; i < to.size(); ++i) to[i]->store(counted[i], std::memory_order_relaxed);
      return;
    }
    default: break;
  }
  damaged(peer.rank, "a note that means nothing");
}

}  // namespace pyccl::server
