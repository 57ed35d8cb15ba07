// How a worker follows the view: what a server has not done, or has sent back, is asked of the one that owns the shard
// now.
#include <cstddef>
#include <string>
#include <utility>

#include "server/client.h"

namespace pyccl::server {

void Client::follow_view() {
  view_ = group_->view();
  if (courier_) courier_->bury(view_);
  for (int shard = 0; shard < group_->shards(); ++shard) {
    const int owner = owners_[static_cast<std::size_t>(shard)];
    // One that lives does what it still owns, and sends back the rest.
    if (owner >= 0 && !view_.lives(group_->rank_of(owner))) follow_owner(shard);
  }
}

/// Asks a shard's owner for all that is not done, in order, under the same numbers. What was sent is with nobody now:
/// the server that had it is dead, or has sent it back.
void Client::follow_owner(int shard) {
  const auto i = static_cast<std::size_t>(shard);
  Outlet& before = outlet(owners_[i], shard);
  while (const Record* record = before.reap()) land(*record);
  std::deque<std::string> records = std::exchange(back_[i], {});
  for (std::string& bytes : before.recover()) records.push_back(std::move(bytes));
  owners_[i] = view_.owner(shard);
  terms_[i] = view_.term;
  if (owners_[i] < 0) rows_[i].clear();
  for (std::string& bytes : records) {
    auto* record = reinterpret_cast<Record*>(bytes.data());
    record->status = Status::Done;
    record->term = view_.term;
    if (owners_[i] >= 0) outlet(owners_[i], shard).send_again(std::move(bytes));
  }
}

void Client::mistake(int shard, int server, std::uint32_t term) {
  const std::lock_guard lock(mutex_);
  owners_.at(static_cast<std::size_t>(shard)) = server;
  terms_.at(static_cast<std::size_t>(shard)) = term;
}

}  // namespace pyccl::server
