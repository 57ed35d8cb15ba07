// One build of the kernels per instruction set; the table of builds is chosen by file (isa_x86.cc, isa_generic.cc).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/codecs.h"
#include "kernels/kernels.h"
#include "kernels/updates.h"

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

struct Update {
  char* parameters;
  char* const* state;
  const char* gradient;
  std::int64_t count;
  float scale;
  std::int64_t step;
};

struct Compensation {
  char* out;
  const char* gradient;
  const char* parameters;
  const char* backup;
  std::int64_t count;
  float lambda;
  char* mean_square = nullptr;  // of the adaptive form, as all that follows
  double decay = 0;
  float epsilon = 0;
};

struct Variant {
  const char* name;
  bool (*available)();
  int (*reduce)(const Reduction& how, const Job& job);
  void (*scale)(DataType dtype, char* dst, const char* src, std::int64_t count, double factor);
  void (*stream_copy)(char* dst, const char* src, std::int64_t bytes);
  void (*update)(const Optimizer& how, const Update& job);
  bool (*all_finite)(const char* values, std::int64_t count);
  void (*compensate)(const Compensation& job);
  void (*encode)(Codec codec, char* to, const char* from, std::int64_t count);
  void (*decode)(Codec codec, char* to, const char* from, std::int64_t count);
};

/// The builds of this binary, best first; the last one runs everywhere.
std::span<const Variant* const> variants();

/// The best build this CPU can run, or the one of that name. Throws std::invalid_argument if it cannot be run.
const Variant& best_variant();
const Variant& variant_named(std::string_view name);

/// The one in use: the best, or what PYCCL_ISA names.
const Variant& chosen_variant();

/// kernels::reduce and friends on a build of one's choice.
int reduce(const Variant& variant, const Reduction& how, const void* const* sources, int nsources, void* const* dests,
           int ndests, std::int64_t count, std::int64_t divisor, bool stream);
void scale(const Variant& variant, DataType dtype, void* dst, const void* src, std::int64_t count, double factor);
void copy(const Variant& variant, void* dst, const void* src, std::int64_t bytes, bool stream);

}  // namespace pyccl::kernels
