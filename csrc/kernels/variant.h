// One build of the kernels per instruction set; the table of builds is chosen by file (isa_x86.cc, isa_generic.cc).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/kernels.h"

namespace pyccl::kernels {

/// A checked request: counts are not negative, op is defined on dtype.
struct Job {
  const char* const* sources;
  int nsources;
  char* const* dests;
  int ndests;
  std::int64_t count;
  std::int64_t divisor;
  bool stream;
  int lanes_per_element = 1;  // then `count` is in lanes: 2 for the parts of complex numbers
};

struct Variant {
  const char* name;
  bool (*available)();
  int (*reduce)(const Reduction& how, const Job& job);
  void (*scale)(DataType dtype, char* dst, const char* src, std::int64_t count, double factor);
  void (*stream_copy)(char* dst, const char* src, std::int64_t bytes);
};

/// The builds of this binary, best first; the last one runs everywhere.
std::span<const Variant* const> variants();

/// The best build this CPU can run, or the one of that name. Throws std::invalid_argument if it cannot be run.
const Variant& best_variant();
const Variant& variant_named(std::string_view name);

/// kernels::reduce and friends on a build of one's choice.
int reduce(const Variant& variant, const Reduction& how, const void* const* sources, int nsources, void* const* dests,
           int ndests, std::int64_t count, std::int64_t divisor, bool stream);
void scale(const Variant& variant, DataType dtype, void* dst, const void* src, std::int64_t count, double factor);
void copy(const Variant& variant, void* dst, const void* src, std::int64_t bytes, bool stream);

}  // namespace pyccl::kernels
