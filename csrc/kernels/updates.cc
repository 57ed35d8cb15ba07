// Hands updates and codecs to the build for this CPU.
#include "kernels/updates.h"

#include <stdexcept>

#include "kernels/variant.h"

namespace pyccl::kernels {

namespace {

/// float* are addresses of floats at any alignment, never dereferenced as such.
char* bytes(float* values) { return reinterpret_cast<char*>(values); }
const char* bytes(const float* values) { return reinterpret_cast<const char*>(values); }

}  // namespace

int slots(Method method) {
  switch (method) {
    case Method::Sgd: return 0;
    case Method::Momentum:
    case Method::Nesterov:
    case Method::Adagrad:
    case Method::RmsProp:
    case Method::Lion: return 1;
    case Method::Adam:
    case Method::AdamW:
    case Method::Lamb:
    case Method::Ftrl: return 2;
  }
  throw std::invalid_argument("unknown optimiser");
}

void update(const Optimizer& how, float* parameters, float* const* state, const float* gradient, std::int64_t count,
            float scale, std::int64_t step) {
  char* slot[2] = {};
  for (int k = 0; k < slots(how.method); ++k) slot[k] = bytes(state[k]);
  chosen_variant().update(how, Update{bytes(parameters), slot, bytes(gradient), count, scale, step});
}

bool all_finite(const float* values, std::int64_t count) { return chosen_variant().all_finite(bytes(values), count); }

void compensate(float* out, const float* gradient, const float* parameters, const float* backup, float lambda,
                std::int64_t count) {
  chosen_variant().compensate({bytes(out), bytes(gradient), bytes(parameters), bytes(backup), count, lambda});
}

void compensate_adaptive(float* out, const float* gradient, const float* parameters, const float* backup,
                         float* mean_square, float lambda, double decay, float epsilon, std::int64_t count) {
  chosen_variant().compensate({bytes(out), bytes(gradient), bytes(parameters), bytes(backup), count, lambda,
                               bytes(mean_square), decay, epsilon});
}

std::int64_t encoded_bytes(Codec codec, std::int64_t count) {
  switch (codec) {
    case Codec::Float32: return 4 * count;
    case Codec::Float16:
    case Codec::BFloat16: return 2 * count;
    case Codec::Int8: return count + 4 * ((count + kInt8Block - 1) / kInt8Block);
  }
  throw std::invalid_argument("unknown codec");
}

void encode(Codec codec, void* to, const float* from, std::int64_t count) {
  chosen_variant().encode(codec, static_cast<char*>(to), bytes(from), count);
}

void decode(Codec codec, float* to, const void* from, std::int64_t count) {
  chosen_variant().decode(codec, bytes(to), static_cast<const char*>(from), count);
}

}  // namespace pyccl::kernels
