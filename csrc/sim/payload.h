// The data of a simulated collective: the programs that the ranks would run, in lockstep, with the same kernels.
#pragma once

#include <cstdint>
#include <vector>

#include "core/schedule.h"
#include "kernels/kernels.h"

namespace pyccl::sim {

/// Runs `schedule` on memory of this process. A rank's input is the chunks that it holds at the start, one behind the
/// other, its output those that it must hold at the end; `counts` are elements by chunk, `nodes` as in compile().
/// The results have the bits that the runtime's have. Returns false when a user's function failed.
bool run_payload(const Schedule& schedule, const std::vector<int>& nodes, const kernels::Reduction& how,
                 std::int64_t divisor, const std::vector<std::int64_t>& counts, const std::vector<const char*>& inputs,
                 const std::vector<char*>& outputs);

}  // namespace pyccl::sim
