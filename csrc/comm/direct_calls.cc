// Calls on registered arrays: which program reaches the peers' memory, and where that is.
#include <cstring>

#include "comm/communicator.h"

namespace pyccl {
namespace {

constexpr int kAccess = 2;  // bit of output_registered in the index of direct programs

int access_index(Access access) { return (access.input_registered ? 1 : 0) + (access.output_registered ? kAccess : 0); }

/// Where every rank's block lies in the array of all blocks, in bytes; empty unless this rank's block there is the
/// other array of the call.
std::vector<std::int64_t> own_block(const Call& call, const Layout& blocks, int rank) {
  const bool gathers = call.kind == Collective::AllGather;
  if (!gathers && call.kind != Collective::ReduceScatter) return {};
  std::vector<std::int64_t> offsets = gathers ? blocks.output_offsets : blocks.input_offsets;
  for (std::int64_t& offset : offsets) offset *= static_cast<std::int64_t>(item_size(call.dtype));
  const char *whole = static_cast<const char*>(gathers ? call.output : call.input),
             *block = static_cast<const char*>(gathers ? call.input : call.output);
  if (block != whole + offsets[static_cast<std::size_t>(rank)]) return {};
  return offsets;
}

void append_peers(const Region* region, const void* data, const std::vector<std::int64_t>& blocks,
                  std::vector<char*>& out) {
  if (!region) return;
  const auto offset = static_cast<const char*>(data) - region->own;
  for (std::size_t r = 0; r < region->bases.size(); ++r) {
    char* base = region->bases[r];
    out.push_back(base ? base + offset + (blocks.empty() ? 0 : blocks[r]) : nullptr);
  }
}

}  // namespace

/// As prepare(), once the staged program is known.
bool Communicator::prepare_direct(Prepared& p, Compiled& staged, bool automatic) {
  Call& call = p.call;
  const bool premultiplied = call.op == OpKind::PremulSum && reduces(call.kind);
  if (regions_.size() == 0 || spans_nodes_ || !node_ || premultiplied || !call.send_counts.empty()) return true;
  const auto item = static_cast<std::int64_t>(item_size(call.dtype));
  const std::int64_t input_bytes = input_elements(call, setup_.rank, setup_.size) * item;
  const std::int64_t output_bytes = output_elements(call, setup_.rank, setup_.size) * item;
  // rooted collectives: only the side that every rank has can be agreed upon
  const bool use_input = call.kind != Collective::Scatter;
  const bool use_output = call.kind != Collective::Reduce && call.kind != Collective::Gather;
  if (call.input && use_input) p.input_region = regions_.find(call.input, input_bytes);
  if (call.output && use_output) p.output_region = regions_.find(call.output, output_bytes);
  const Access access{p.input_region != nullptr, p.output_region != nullptr};
  if (!access.input_registered && !access.output_registered) return true;
  const int algorithm = automatic ? choose(call.kind, true, call_bytes(call, setup_.size)) : call.algorithm;
  const auto other = programs_.find({call.kind, algorithm, call.root});
  if (other == programs_.end()) {
    call.algorithm = algorithm;
    return false;
  }
  Compiled& d = other->second;
  if (&d != &staged) p.digest ^= d.schedule.digest;
  const int index = access_index(access);
  if (!d.direct_tried[index]) {
    d.direct_tried[index] = true;
    Program program;
    if (compile_direct(d.schedule, setup_.rank, access, program)) {
      d.direct[index] = std::make_shared<const Program>(std::move(program));
    }
  }
  p.direct = d.direct[index];
  if (!p.direct) return true;
  p.direct_layout =
      &d == &staged ? p.staged_layout
                    : std::make_shared<const Layout>(make_layout(call, setup_.rank, setup_.size, p.direct->nchunks));
  const bool one_region = p.input_region && p.input_region == p.output_region;
  const auto blocks = one_region ? own_block(call, *p.direct_layout, setup_.rank) : std::vector<std::int64_t>{};
  const bool gathers = call.kind == Collective::AllGather;
  const void* const input = !blocks.empty() && gathers ? call.output : call.input;
  const void* const output = !blocks.empty() && !gathers ? call.input : call.output;
  const std::vector<std::int64_t> none;
  append_peers(p.input_region.get(), input, gathers ? blocks : none, p.peer_inputs);
  append_peers(p.output_region.get(), output, gathers ? none : blocks, p.peer_outputs);
  p.input_key = region_key(p.input_region.get(), input) | (blocks.empty() ? 0 : kOwnBlock);
  p.output_key = region_key(p.output_region.get(), output) | (blocks.empty() ? 0 : kOwnBlock);
  if (p.input_region) append_edges(*p.input_region, call.input, input_bytes, false, setup_.rank, p.edges);
  if (p.output_region) append_edges(*p.output_region, call.output, output_bytes, true, setup_.rank, p.edges);
  return true;
}

bool Communicator::runs_direct(const Prepared& p) const {
  return p.direct && !(p.input_region && p.input_region->retired) && !(p.output_region && p.output_region->retired);
}

/// Between the meetings that begin and end the operation, this rank reaches its own arrays as its peers do.
void Communicator::run_direct(const Prepared& p, const Deadline& deadline, int tag) {
  Binding b = bind(p, *p.direct_layout);
  const auto me = static_cast<std::size_t>(setup_.rank);
  if (p.input_region) b.input = p.peer_inputs[me];
  if (p.output_region) b.output = p.peer_outputs[me];
  b.peer_inputs = &p.peer_inputs;
  b.peer_outputs = &p.peer_outputs;
  engine_.run(*p.direct, b, deadline, {}, true, tag);
  ++direct_runs_;
  for (const Edge& e : p.edges) {
    if (e.written) std::memcpy(e.own, e.mirror, e.bytes);
  }
}

}  // namespace pyccl
