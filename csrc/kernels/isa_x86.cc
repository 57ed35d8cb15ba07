// The builds of an x86-64 binary.
#include "kernels/variant.h"

namespace pyccl::kernels {

namespace x86_64_v4 {
extern const Variant kVariant;
}
namespace x86_64_v3 {
extern const Variant kVariant;
}
namespace baseline {
extern const Variant kVariant;
}

std::span<const Variant* const> variants() {
  static constexpr const Variant* kAll[] = {&x86_64_v4::kVariant, &x86_64_v3::kVariant, &baseline::kVariant};
  return kAll;
}

}  // namespace pyccl::kernels
