// The build of the kernels that a test names.
#pragma once

#include <string>

#include "kernels/variant.h"

namespace pyccl::bindings {

/// "" is the one in use.
inline const kernels::Variant& pick(const std::string& isa) {
  return isa.empty() ? kernels::chosen_variant() : kernels::variant_named(isa);
}

}  // namespace pyccl::bindings
