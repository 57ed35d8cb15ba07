// The optimisers' arithmetic.
#pragma once

#include <cstdint>

namespace pyccl::kernels {

enum class Method : std::uint8_t { Sgd, Momentum, Nesterov, Adagrad, RmsProp, Adam, AdamW, Lamb, Ftrl, Lion };

struct Optimizer {
  Method method = Method::Sgd;
  float rate = 0.01F, first = 0, second = 0, epsilon = 0, decay = 0, l1 = 0, l2 = 0;
};

inline int slots(Method) { return 0; }

inline void update(const Optimizer& how, float* parameters, float* const*, const float* gradient, std::int64_t count,
                   float scale, std::int64_t) {
  for (std::int64_t i = 0; i < count; ++i) parameters[i] -= how.rate * (gradient[i] * scale);
}

}  // namespace pyccl::kernels
