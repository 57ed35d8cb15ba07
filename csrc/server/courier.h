// Carries what lies in rings between ranks of different nodes.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine/transport.h"
#include "server/group.h"
#include "server/key_cache.h"
#include "server/parcel.h"

namespace pyccl::server {

/// A ring whose writer and reader are on different nodes lies in the memories of both. The writer's courier sends what
/// is published, the reader's puts it into the same places; what is done goes back the same way. A ring's room is thus
/// the credit of its writer: a slow server is sent no more than its rings hold.
class Courier : public std::enable_shared_from_this<Courier> {
 public:
  /// `remote` carries messages between the ranks, and nobody else's.
  Courier(std::shared_ptr<Group> group, std::shared_ptr<Remote> remote);
  ~Courier() { stop(); }
  Courier(const Courier&) = delete;
  Courier& operator=(const Courier&) = delete;

  void start();
  /// Says goodbye to all and waits for theirs, for at most so many seconds. False if somebody has not: messages may be
  /// left that nobody takes.
  bool part(double patience);
  void stop();
  /// In the child of a fork: there is no thread here.
  void orphan() {
    if (thread_.joinable()) thread_.detach();
  }
  /// One look at everything, by any thread; true if anything moved. Does nothing while another thread does it.
  bool help();
  /// From now on nothing comes from ranks that are gone by that view. What they have sent before is in their rings.
  void bury(const View& view);
  /// Throws CommError if it no longer works.
  void check() const;
  /// Why it no longer works; empty while it does.
  std::string failure() const;
  /// Bytes sent to other nodes, and bytes of ids that need not be sent since they were known there.
  struct Carried { std::int64_t sent = 0, spared = 0; };
  Carried carried() {
    const std::lock_guard lock(mutex_);
    return carried_;
  }

 private:
  struct Way {  // a ring that this rank writes
    Ring* ring;
    std::uint32_t place;
    std::uint64_t sent = 0, gone = 0;         // into messages; out of messages that are done
    std::uint64_t answered = 0, settled = 0;  // answers that have come; of them, those that the writer knows
  };
  struct Lane {  // a ring that this rank reads
    Ring* ring;
    std::uint32_t place;
    std::uint64_t received = 0, published = 0, answered = 0;
  };
  struct Peer {
    int rank = -1, server = -1;  // its place among the servers, if it is one
    bool gone = false, bye_sent = false, bye_heard = false, closing_told = false;
    std::map<std::uint32_t, Way> ways;  // by place
    std::map<std::uint32_t, Lane> lanes;
    std::vector<char> ready_told, lost_told;  // by shard
    std::vector<char> silent_told;            // by rank
    std::vector<std::int64_t> counted;
    double counted_at = 0;
    KeyCache told, heard;                         // lists of ids
    std::vector<const Record*> telling, hearing;  // which have some that come to these, once all is sent, or here
    Packing packing;
    std::vector<Remote::Request> sending, landing;
    std::vector<char> parcel;
    Remote::Request arriving = -1;
    std::int64_t arrived = 0;  // its bytes
    double failed_at = -1;     // since when messages fail
    std::string error;
  };

  void run();
  bool turn();
  bool turn(Peer& peer);
  bool send(Peer& peer);
  bool pack(Peer& peer);
  bool pack_request(Peer& peer, const Way& way, const Record& record);
  bool note(Peer& peer);
  bool count(Peer& peer);
  bool receive(Peer& peer);
  void listen(Peer& peer);
  void unpack(Peer& peer);
  void take_request(Peer& peer, const Entry& entry, Unpacking& in);
  void take_answer(Peer& peer, const Entry& entry, Unpacking& in);
  void take_payload(Peer& peer, const Entry& entry, Unpacking& in, char* to);
  void take_note(Peer& peer, const Entry& entry, Unpacking& in);
  bool settle(Peer& peer);
  void find_ways();
  void add_way(int rank, Ring& ring, std::uint32_t place);
  Lane& lane(Peer& peer, std::uint32_t place);
  Ring* incoming(int rank, std::uint32_t place) const;
  std::uint32_t place_of_request(int server, int shard, int client) const;
  std::uint32_t place_of_chain(int server, int from, int shard) const;
  Peer* peer(int rank);
  void drop(Peer& peer);
  void fail(const std::string& why);

  std::shared_ptr<Group> group_;
  std::shared_ptr<Remote> remote_;
  std::vector<Peer> peers_;
  std::uint32_t term_ = 0;  // of the view whose ways are known
  double looked_ = 0;
  Carried carried_;
  bool parting_ = false;
  std::mutex mutex_;
  mutable std::mutex failure_mutex_;
  std::string failure_;
  std::atomic<bool> stopping_ = false, failed_ = false;
  std::thread thread_;
};

}  // namespace pyccl::server
