// Messages between two ranks that share no memory: envelope, answer, then the data, straight into the user's array.
#pragma once

#include <memory>

#include "engine/transfer.h"
#include "engine/transport.h"

namespace pyccl {

std::unique_ptr<Transfer> make_remote_transfer(const MessageCall& message, int rank, std::uint32_t sequence,
                                               Remote& remote);

}  // namespace pyccl
