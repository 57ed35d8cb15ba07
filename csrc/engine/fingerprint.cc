#include "engine/fingerprint.h"

#include <iterator>

#include "core/schedule.h"

namespace pyccl {

const char* name(Collective collective) {
  static constexpr const char* names[] = {"all_reduce", "reduce_scatter", "all_gather", "broadcast", "reduce",
                                          "gather",     "scatter",        "all_to_all", "barrier"};
  return names[static_cast<int>(collective)];
}

const char* name(DataType dtype) {
  static constexpr const char* names[] = {"bool",     "uint8",   "int8",    "uint16",    "int16",
                                          "uint32",   "int32",   "uint64",  "int64",     "float16",
                                          "bfloat16", "float32", "float64", "complex64", "complex128"};
  const auto index = static_cast<std::size_t>(dtype);
  return index < std::size(names) ? names[index] : "?";  // a peer's line may be read while it is written
}

const char* name(OpKind op) {
  static constexpr const char* names[] = {"sum",  "avg", "prod", "min",        "max",
                                          "band", "bor", "bxor", "premul_sum", "user"};
  const auto index = static_cast<std::size_t>(op);
  return index < std::size(names) ? names[index] : "?";
}

const char* purpose(std::uint8_t kind, std::uint8_t op) {
  if (kind != static_cast<std::uint8_t>(Collective::AllGather)) return nullptr;
  return op == kForSplit ? "split" : op == kForCheckSame ? "check_same" : nullptr;
}

std::string describe(const Fingerprint& f, const std::string& algorithm) {
  if (const char* whole = purpose(f.kind, f.op)) return std::string(whole) + " #" + std::to_string(f.sequence);
  if (f.kind == kAborted) return "a refused call #" + std::to_string(f.sequence);
  if (f.kind == kAllocate) return "empty(" + std::to_string(f.count) + " bytes) #" + std::to_string(f.sequence);
  if (f.kind == kRegister) return "register(" + std::to_string(f.count) + " bytes) #" + std::to_string(f.sequence);
  if (f.kind == kGroup) {
    return "a group of " + std::to_string(f.count) + " collectives #" + std::to_string(f.sequence);
  }
  if (f.kind == kSplit) return "split #" + std::to_string(f.sequence);
  if (f.kind == kAborted) return "a refused operation #" + std::to_string(f.sequence);
  if (f.kind >= kCollectives) return "an unknown operation #" + std::to_string(f.sequence);
  const auto kind = static_cast<Collective>(f.kind);
  std::string text = std::string(name(kind)) + "(";
  if (kind != Collective::Barrier) {
    text += std::string("dtype=") + name(static_cast<DataType>(f.dtype)) + ", count=" + std::to_string(f.count);
    if (reduces(kind)) text += std::string(", op=") + name(static_cast<OpKind>(f.op));
    if (f.root >= 0) text += ", root=" + std::to_string(f.root);
    if (!algorithm.empty()) text += ", algorithm=" + algorithm;
  }
  return text + ") #" + std::to_string(f.sequence);
}

}  // namespace pyccl
