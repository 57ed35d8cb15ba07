// What optimisers do to float32 parameters. Any alignment, any count; may be called without the GIL, from any thread.
// Every instruction set gives the same bits, up to the payload of a NaN: nothing is fused or reassociated.
#pragma once

#include <cstdint>

namespace pyccl::kernels {

enum class Method : std::uint8_t { Sgd, Momentum, Nesterov, Adagrad, RmsProp, Adam, AdamW, Lamb, Ftrl, Lion };
inline constexpr int kMethods = 10;

/// Plain data: travels in messages and snapshots. Double, because 1 - 0.999 has to be 0.001 before it is rounded.
struct Optimizer {
  Method method = Method::Sgd;
  double rate = 0;     // lr; alpha of FTRL
  double first = 0;    // momentum, beta 1
  double second = 0;   // beta 2; alpha of RMSProp
  double epsilon = 0;  // added to a root, positive where the method has one; beta of FTRL
  double decay = 0;    // weight decay: added to the gradient, or decoupled (AdamW, LAMB, Lion)
  double l1 = 0;       // FTRL
  double l2 = 0;       // FTRL

  friend bool operator==(const Optimizer&, const Optimizer&) = default;
};

/// float32 values of state per parameter; all of them begin at zero. Throws std::invalid_argument for no method.
int slots(Method method);

/// True if a step depends on all parameters of a layer together (LAMB): a layer is then what one call is given.
constexpr bool whole(Method method) { return method == Method::Lamb; }

/// One step, in place. The gradient is multiplied by `scale` first; `step` counts from 1. `state` are slots(method)
/// arrays of `count` values; no two of the arrays overlap. Values do not depend on how a range is divided, unless the
/// method is `whole`.
void update(const Optimizer& how, float* parameters, float* const* state, const float* gradient, std::int64_t count,
            float scale, std::int64_t step);

bool all_finite(const float* values, std::int64_t count);

/// DC-ASGD (Zheng et al. 2017): out = g + lambda g g (w - backup), `backup` being the parameters on which g was
/// computed. Where lambda is 0 or w equals the backup, out has the bits of g. `out` may be `gradient`.
void compensate(float* out, const float* gradient, const float* parameters, const float* backup, float lambda,
                std::int64_t count);

/// DC-ASGD-a: mean_square = decay mean_square + (1 - decay) g g, and lambda / sqrt(mean_square + epsilon) for lambda.
void compensate_adaptive(float* out, const float* gradient, const float* parameters, const float* backup,
                         float* mean_square, float lambda, double decay, float epsilon, std::int64_t count);

}  // namespace pyccl::kernels
