// The one build of a binary for any other CPU.
#include "kernels/variant.h"

namespace pyccl::kernels {

namespace baseline {
extern const Variant kVariant;
}

std::span<const Variant* const> variants() {
  static constexpr const Variant* kAll[] = {&baseline::kVariant};
  return kAll;
}

}  // namespace pyccl::kernels
