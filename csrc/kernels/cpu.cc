// Checks a request and hands it to the build for this CPU.
#include <cstdlib>
#include <cstring>
#include <string>

#include "kernels/variant.h"

namespace pyccl::kernels {

namespace {

std::string names() {
  std::string text;
  for (const Variant* variant : variants()) {
    if (variant->available()) text += (text.empty() ? "" : ", ") + std::string(variant->name);
  }
  return text;
}

void check(const Reduction& how, int nsources, std::int64_t count, std::int64_t divisor) {
  if (!supports(how.op, how.dtype)) throw std::invalid_argument("reduce: the operation is not defined on this dtype");
  if (how.op == OpKind::User && how.user == nullptr) throw std::invalid_argument("reduce: no user function");
  if (nsources < 1) throw std::invalid_argument("reduce: at least one source is needed");
  if (count < 0) throw std::invalid_argument("reduce: count must not be negative");
  if (divisor < 1) throw std::invalid_argument("reduce: divisor must be positive");
  if (divisor != 1 && !is_floating(how.dtype)) throw std::invalid_argument("reduce: integers are not divided");
}

}  // namespace

bool supports(OpKind op, DataType dtype) {
  const bool is_bool = dtype == DataType::Bool, floating = is_floating(dtype);
  switch (op) {
    case OpKind::Sum: return !is_bool;
    case OpKind::Avg:
    case OpKind::PremulSum: return floating;
    case OpKind::Prod:
    case OpKind::User: return true;
    case OpKind::Min:
    case OpKind::Max: return !is_complex(dtype);
    case OpKind::Band:
    case OpKind::Bor:
    case OpKind::Bxor: return !floating;
  }
  return false;
}

const Variant& best_variant() {
  for (const Variant* variant : variants())
    if (variant->available()) return *variant;
  throw std::logic_error("the baseline kernels run everywhere");
}

const Variant& variant_named(std::string_view name) {
  for (const Variant* variant : variants())
    if (name == variant->name && variant->available()) return *variant;
  throw std::invalid_argument("PYCCL_ISA must be one of " + names() + ", got " + std::string(name));
}

const Variant& chosen_variant() {
  static const Variant& variant = [&]() -> const Variant& {
    const char* name = std::getenv("PYCCL_ISA");
    return name != nullptr && *name != '\0' ? variant_named(name) : best_variant();
  }();
  return variant;
}

int reduce(const Variant& variant, const Reduction& how, const void* const* sources, int nsources, void* const* dests,
           int ndests, std::int64_t count, std::int64_t divisor, bool stream) {
  check(how, nsources, count, divisor);
  if (count == 0 || ndests == 0) return 0;
  const auto* from = reinterpret_cast<const char* const*>(sources);
  const auto* to = reinterpret_cast<char* const*>(dests);
  return variant.reduce(how, Job{from, nsources, to, ndests, count, divisor, stream});
}

void scale(const Variant& variant, DataType dtype, void* dst, const void* src, std::int64_t count, double factor) {
  if (!is_floating(dtype)) throw std::invalid_argument("scale: dtype must be floating or complex");
  variant.scale(dtype, static_cast<char*>(dst), static_cast<const char*>(src), count, factor);
}

void copy(const Variant& variant, void* dst, const void* src, std::int64_t bytes, bool stream) {
  if (bytes <= 0 || dst == src) return;
  if (stream) variant.stream_copy(static_cast<char*>(dst), static_cast<const char*>(src), bytes);
  else std::memcpy(dst, src, static_cast<std::size_t>(bytes));
}

int reduce(const Reduction& how, const void* const* sources, int nsources, void* const* dests, int ndests,
           std::int64_t count, std::int64_t divisor, bool stream) {
  return reduce(chosen_variant(), how, sources, nsources, dests, ndests, count, divisor, stream);
}

void scale(DataType dtype, void* dst, const void* src, std::int64_t count, double factor) {
  scale(chosen_variant(), dtype, dst, src, count, factor);
}

void copy(void* dst, const void* src, std::int64_t bytes, bool stream) {
  copy(chosen_variant(), dst, src, bytes, stream);
}

const char* isa() { return chosen_variant().name; }

}  // namespace pyccl::kernels
