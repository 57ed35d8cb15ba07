// What an optimiser does to parameters.
#pragma once

#include <cmath>
#include <cstdint>
#include <stdexcept>

namespace pyccl::kernels {

enum class Method : std::uint8_t { Sgd, Momentum, Nesterov, Adagrad, RmsProp, Adam, AdamW, Lamb, Ftrl, Lion };

/// Plain data: travels in messages and snapshots.
struct Optimizer {
  Method method = Method::Sgd;
  float rate = 0, first = 0, second = 0, epsilon = 0, decay = 0, l1 = 0, l2 = 0;
};

/// float32 state values per parameter.
inline int slots(Method method) {
  switch (method) {
    case Method::Sgd: return 0;
    case Method::Adagrad: return 1;
    default: throw std::invalid_argument("the optimiser is not there yet");
  }
}

/// The gradient is multiplied by `scale` first; `step` counts from 1; `state` are slots() arrays of `count`.
inline void update(const Optimizer& how, float* parameters, float* const* state, const float* gradient,
                   std::int64_t count, float scale, std::int64_t) {
  if (how.method == Method::Sgd) {
    for (std::int64_t i = 0; i < count; ++i) parameters[i] -= how.rate * (scale * gradient[i]);
    return;
  }
  float* sum = state[0];
#pragma GCC ivdep
  for (std::int64_t i = 0; i < count; ++i) {
    const float g = scale * gradient[i];
    sum[i] += g * g;
    parameters[i] -= how.rate * g / (std::sqrt(sum[i]) + how.epsilon);
  }
}

}  // namespace pyccl::kernels
