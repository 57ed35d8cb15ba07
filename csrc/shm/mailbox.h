// Messages between two ranks of a node, through the mailbox that they share.
#pragma once

#include "engine/transfer.h"
#include "shm/node.h"

namespace pyccl::shm {

/// Copies the data into the mailbox, short messages beside the envelope, others in pieces of which two are under way.
class MailboxSend final : public Transfer {
 public:
  MailboxSend(const MessageCall& message, int rank, std::uint32_t sequence, const Node& node);
  bool advance() override;

 private:
  bool publish();
  Mailbox& box_;
  Bell& bell_;
  std::uint32_t pieces_, published_ = 0;
  bool started_ = false;
};

/// Compares envelopes before the first byte is written.
class MailboxReceive final : public Transfer {
 public:
  MailboxReceive(const MessageCall& message, int rank, std::uint32_t sequence, const Node& node);
  bool advance() override;

 private:
  void answer(std::uint32_t low);
  Mailbox& box_;
  Bell& bell_;
  std::uint32_t pieces_, consumed_ = 0;
  bool accepted_ = false;
};

}  // namespace pyccl::shm
