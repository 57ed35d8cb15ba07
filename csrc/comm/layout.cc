#include <algorithm>

#include "comm/call.h"
#include "core/buffer.h"

namespace pyccl {
namespace {

/// The p blocks of reduce_scatter, all_gather, gather and scatter, given or split evenly.
std::vector<std::int64_t> block_counts(const Call& call, int size) {
  if (!call.counts.empty()) return call.counts;
  std::vector<std::int64_t> counts(size);
  for (int r = 0; r < size; ++r) {
    const Range range = chunk_range(call.count, size, r);
    counts[r] = range.end - range.begin;
  }
  return counts;
}

std::vector<std::int64_t> prefix(const std::vector<std::int64_t>& counts) {
  std::vector<std::int64_t> offsets(counts.size());
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    offsets[i] = sum;
    sum += counts[i];
  }
  return offsets;
}

Layout vector_layout(const Call& call, int nchunks) {
  Layout layout;
  for (int c = 0; c < nchunks; ++c) {
    const Range range = chunk_range(call.count, nchunks, c);
    layout.counts.push_back(range.end - range.begin);
    layout.input_offsets.push_back(range.begin);
  }
  layout.output_offsets = layout.input_offsets;
  return layout;
}

/// A rank's single block starts at 0; the array of all blocks has them one behind the other.
Layout block_layout(const Call& call, int size) {
  Layout layout;
  layout.counts = block_counts(call, size);
  const std::vector<std::int64_t> zeros(layout.counts.size(), 0);
  const bool gathers = call.kind == Collective::AllGather || call.kind == Collective::Gather;
  layout.input_offsets = gathers ? zeros : prefix(layout.counts);
  layout.output_offsets = gathers ? prefix(layout.counts) : zeros;
  return layout;
}

Layout all_to_all_layout(const Call& call, int rank, int size) {
  Layout layout;
  const auto chunks = static_cast<std::size_t>(size) * size;
  const bool uneven = !call.send_counts.empty();
  layout.counts.assign(chunks, uneven ? 0 : call.count);
  layout.input_offsets.assign(chunks, 0);
  layout.output_offsets.assign(chunks, 0);
  const auto send_offsets = prefix(call.send_counts), recv_offsets = prefix(call.recv_counts);
  for (int src = 0; src < size; ++src) {
    for (int dst = 0; dst < size; ++dst) {
      const std::size_t c = static_cast<std::size_t>(src) * size + dst;
      if (!uneven) {
        layout.input_offsets[c] = dst * call.count;
        layout.output_offsets[c] = src * call.count;
        continue;
      }
      if (src == rank) {
        layout.counts[c] = call.send_counts[dst];
        layout.input_offsets[c] = send_offsets[dst];
      }
      if (dst == rank) {
        layout.counts[c] = call.recv_counts[src];
        layout.output_offsets[c] = recv_offsets[src];
      }
    }
  }
  return layout;
}

}  // namespace

Layout make_layout(const Call& call, int rank, int size, int nchunks) {
  Layout layout;
  switch (call.kind) {
    case Collective::AllReduce:
    case Collective::Broadcast:
    case Collective::Reduce:
    case Collective::Barrier: layout = vector_layout(call, nchunks); break;
    case Collective::AllToAll: layout = all_to_all_layout(call, rank, size); break;
    default: layout = block_layout(call, size); break;
  }
  layout.largest = layout.counts.empty() ? 0 : *std::max_element(layout.counts.begin(), layout.counts.end());
  return layout;
}

Layout make_layout(const std::vector<std::int64_t>& all, int rank, int size) {
  Layout layout;
  const auto p = static_cast<std::size_t>(size), chunks = p * p, me = static_cast<std::size_t>(rank);
  layout.counts.reserve(chunks);
  layout.input_offsets.assign(chunks, 0);
  layout.output_offsets.assign(chunks, 0);
  for (std::size_t src = 0; src < p; ++src) {
    layout.counts.insert(layout.counts.end(), &all[2 * p * src], &all[2 * p * src] + p);
  }
  std::int64_t sent = 0, received = 0;
  for (std::size_t other = 0; other < p; ++other) {
    layout.input_offsets[me * p + other] = sent;
    layout.output_offsets[other * p + me] = received;
    sent += layout.counts[me * p + other];
    received += layout.counts[other * p + me];
  }
  layout.largest = *std::max_element(layout.counts.begin(), layout.counts.end());
  return layout;
}

std::int64_t input_elements(const Call& call, int rank, int size) {
  switch (call.kind) {
    case Collective::AllGather:
    case Collective::Gather: return block_counts(call, size)[rank];
    case Collective::AllToAll: {
      if (call.send_counts.empty()) return call.count * size;
      std::int64_t sum = 0;
      for (std::int64_t c : call.send_counts) sum += c;
      return sum;
    }
    default: return call.count;
  }
}

std::int64_t output_elements(const Call& call, int rank, int size) {
  if (call.kind == Collective::ReduceScatter || call.kind == Collective::Scatter) {
    Call mirrored = call;
    mirrored.kind = Collective::Gather;
    return input_elements(mirrored, rank, size);
  }
  return call.kind == Collective::AllToAll ? input_elements(call, rank, size) : call.count;
}

std::int64_t call_bytes(const Call& call, int size) {
  std::int64_t elements = call.count;
  if (call.kind == Collective::AllToAll) {
    elements *= size;
    for (std::int64_t c : call.send_counts) elements += c;
  }
  return elements * static_cast<std::int64_t>(item_size(call.dtype));
}

}  // namespace pyccl
