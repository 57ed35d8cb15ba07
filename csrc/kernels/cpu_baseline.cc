// The kernels for the CPU that the compiler was told to build for: 128-bit vectors, which x86-64 and AArch64 both have.
#include <cstdint>
#include <type_traits>
#include <utility>

#include "kernels/variant.h"

namespace pyccl::kernels::baseline {
namespace {

inline constexpr int kVectorBytes = 16;

#include "kernels/half.h"

bool available() { return true; }

template <class V> [[gnu::always_inline]] inline void stream_store(char* to, V value) {
  __builtin_memcpy(to, &value, sizeof value);
}
inline void stream_fence() {}

#include "kernels/entry.h"

}  // namespace

extern const Variant kVariant;
constinit const Variant kVariant{"baseline", available,  reduce_job,     scale_elements, stream_copy,
                                 update_job, all_finite, compensate_job, encode_job,     decode_job};

}  // namespace pyccl::kernels::baseline
