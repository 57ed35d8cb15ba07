// One collective call, resolved: plain addresses, counts and codes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/types.h"
#include "engine/engine.h"

namespace pyccl {

struct Call {
  Collective kind = Collective::Barrier;
  OpKind op = OpKind::Sum;
  DataType dtype = DataType::U8;
  int algorithm = -1;  // index of a name, -1: by the table
  int root = -1;       // -1: not rooted
  const void* input = nullptr;
  void* output = nullptr;
  std::int64_t count = 0;            // elements of the large side; of one block for an even all_to_all
  std::vector<std::int64_t> counts;  // per rank, empty: even
  std::vector<std::int64_t> send_counts, recv_counts;  // all_to_all with uneven counts
  double factor = 1.0;                                 // of PremulSum
  kernels::UserFunction user = nullptr;
  std::uint32_t details = 0;  // hash of what else must agree
  std::string note;           // the same in words, for messages
  double timeout = -1;        // seconds, < 0: the communicator's
};

/// Where every chunk of `call` lies on `rank`, for a program of `nchunks` chunks.
Layout make_layout(const Call& call, int rank, int size, int nchunks);

/// The same for an uneven all_to_all once all counts are known, `all[r]` being rank r's send_counts and recv_counts.
Layout make_layout(const std::vector<std::int64_t>& all, int rank, int size);

/// Elements of input and output that `call` reads and writes on `rank`.
std::int64_t input_elements(const Call& call, int rank, int size);
std::int64_t output_elements(const Call& call, int rank, int size);

/// Bytes of the large side.
std::int64_t call_bytes(const Call& call, int size);

}  // namespace pyccl
