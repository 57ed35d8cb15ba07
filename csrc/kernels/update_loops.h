// The loops over parameters. Textual, see ops.h.

#include "kernels/update_rules.h"

using Single32 = Plain<float>;

/// body(x) on the lanes x[0 .. From) of `from`; it leaves in x[0 .. To) what `to` gets. Missing lanes at the end are
/// zero.
template <int From, int To, class Body>
[[gnu::always_inline]] inline void walk(const char* const* from, char* const* to, std::int64_t count, Body body) {
  const char* source[From];
  char* dest[To + 1];
  for (int k = 0; k < From; ++k) source[k] = from[k];
  for (int k = 0; k < To; ++k) dest[k] = to[k];
  Floats x[From];
  std::int64_t i = 0;
  for (; i + kLanes<Single32> <= count; i += kLanes<Single32>) {
#pragma GCC unroll 4
    for (int k = 0; k < From; ++k) x[k] = Single32::load(source[k] + i * Single32::bytes);
    body(x);
#pragma GCC unroll 4
    for (int k = 0; k < To; ++k) Single32::store(dest[k] + i * Single32::bytes, x[k]);
  }
  if (i == count) return;
  for (int k = 0; k < From; ++k) x[k] = load_part<Single32>(source[k] + i * Single32::bytes, count - i);
  body(x);
  for (int k = 0; k < To; ++k) store_part<Single32>(dest[k] + i * Single32::bytes, x[k], count - i);
}

template <class Rule> void advance(const Optimizer& how, const Update& job) {
  constexpr int kSlots = Rule::slots;
  const Rule rule(how, job.step);
  const float scale = job.scale;
  const char* from[kSlots + 2] = {job.parameters};
  char* to[kSlots + 1] = {job.parameters};
  for (int k = 0; k < kSlots; ++k) from[k + 1] = to[k + 1] = job.state[k];
  from[kSlots + 1] = job.gradient;
  walk<kSlots + 2, kSlots + 1>(from, to, job.count, [&](Floats* x) __attribute__((always_inline)) {
    rule.apply(x[0], x + 1, scale * x[kSlots + 1]);
  });
}

/// The sum of squares in sixteen parts, of the values 0, 16, ..., 1, 17, ... and so on, whatever a vector holds.
class Squares {
 public:
  [[gnu::always_inline]] void add(Floats value) {
    const auto wide = __builtin_convertvector(value, Doubles);
    parts_[next_] += wide * wide;
    next_ = (next_ + 1) % kVectors;
  }
  double norm() const {
    double all[kParts], sum = 0;
    __builtin_memcpy(all, parts_, sizeof all);
    for (const double part : all) sum += part;
    return __builtin_sqrt(sum);
  }

 private:
  static constexpr int kParts = 16, kVectors = kParts / static_cast<int>(kLanes<Single32>);
  using Doubles = Vector<double, 2 * kVectorBytes>;
  Doubles parts_[kVectors] = {};
  int next_ = 0;
};

/// Epsilon is positive, so missing lanes add nothing to the norms.
inline void advance_lamb(const Optimizer& how, const Update& job) {
  const Lamb rule(how, job.step);
  const float scale = job.scale;
  Squares parameters, steps;
  const char* const from[] = {job.state[0], job.state[1], job.parameters, job.gradient};
  walk<4, 2>(from, job.state, job.count, [&](Floats* x) __attribute__((always_inline)) {
    rule.moments.advance(x, scale * x[3]);
    parameters.add(x[2]);
    steps.add(rule.toward(x[2], x));
  });
  const double length = parameters.norm(), stride = steps.norm();
  const float rate = static_cast<float>(length > 0 && stride > 0 ? how.rate * (length / stride) : how.rate);
  const char* const again[] = {job.parameters, job.state[0], job.state[1]};
  walk<3, 1>(again, &job.parameters, job.count,
             [&](Floats* x) __attribute__((always_inline)) { x[0] -= rate * rule.toward(x[0], x + 1); });
}

inline void update_job(const Optimizer& how, const Update& job) {
  switch (how.method) {
    case Method::Sgd: return advance<Sgd>(how, job);
    case Method::Momentum: return advance<Velocity<false>>(how, job);
    case Method::Nesterov: return advance<Velocity<true>>(how, job);
    case Method::Adagrad: return advance<Adagrad>(how, job);
    case Method::RmsProp: return advance<RmsProp>(how, job);
    case Method::Adam: return advance<AdaptiveMoments<false>>(how, job);
    case Method::AdamW: return advance<AdaptiveMoments<true>>(how, job);
    case Method::Lamb: return advance_lamb(how, job);
    case Method::Ftrl: return advance<Ftrl>(how, job);
    case Method::Lion: return advance<Lion>(how, job);
  }
}

inline bool all_finite(const char* values, std::int64_t count) {
  constexpr std::uint32_t kExponent = 0x7f800000;
  Words found{};
  walk<1, 0>(&values, nullptr, count, [&](Floats* x) __attribute__((always_inline)) {
    found |= (Words)(((Words)x[0] & kExponent) == kExponent);
  });
  std::uint32_t any = 0;
  for (std::size_t i = 0; i < sizeof found / sizeof any; ++i) any |= found[i];
  return any == 0;
}

inline void compensate_job(const Compensation& job) {
  const float lambda = job.lambda, epsilon = job.epsilon;
  const float decay = static_cast<float>(job.decay), fresh = static_cast<float>(1 - job.decay);
  // Where nothing is to be added the gradient keeps its bits, also those of -0, and of one whose square overflows.
  const auto corrected = [lambda](Floats g, Floats by, Floats moved) __attribute__((always_inline)) {
    return moved == 0 ? g : (lambda == 0 ? g : g + by * g * g * moved);
  };
  if (job.mean_square == nullptr) {
    const char* const from[] = {job.gradient, job.parameters, job.backup};
    return walk<3, 1>(from, &job.out, job.count, [&](Floats* x) __attribute__((always_inline)) {
      x[0] = corrected(x[0], Floats{} + lambda, x[1] - x[2]);
    });
  }
  const char* const from[] = {job.gradient, job.mean_square, job.parameters, job.backup};
  char* const to[] = {job.out, job.mean_square};
  walk<4, 2>(from, to, job.count, [&](Floats* x) __attribute__((always_inline)) {
    x[1] = decay * x[1] + fresh * (x[0] * x[0]);
    x[0] = corrected(x[0], lambda / square_root(x[1] + epsilon), x[2] - x[3]);
  });
}
