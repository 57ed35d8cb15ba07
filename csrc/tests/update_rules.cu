// The optimisers' rules as nvcc compiles them, for single floats: on the host and, where there is a GPU, on it.
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/updates.h"

namespace pyccl::kernels {
namespace {

#include "kernels/update_rules.h"

struct Arrays {
  float* parameters;
  float* state[2];
  const float* gradient;
};

template <class Rule>
__host__ __device__ void advance(const Rule& rule, const Arrays& arrays, std::int64_t i, float scale) {
  float state[Rule::slots + 1];
  for (int k = 0; k < Rule::slots; ++k) state[k] = arrays.state[k][i];
  rule.apply(arrays.parameters[i], state, scale * arrays.gradient[i]);
  for (int k = 0; k < Rule::slots; ++k) arrays.state[k][i] = state[k];
}

template <class Rule> __global__ void advance_all(Rule rule, Arrays arrays, std::int64_t count, float scale) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) advance(rule, arrays, i, scale);
}

/// Copies of a call's arrays in the GPU's memory.
struct OnDevice {
  Arrays arrays{};
  std::int64_t bytes;

  OnDevice(const Arrays& from, std::int64_t count, int slots) : bytes(count * 4) {
    float* gradient = nullptr;
    cudaMalloc(&gradient, bytes);
    cudaMemcpy(gradient, from.gradient, bytes, cudaMemcpyDefault);
    arrays.gradient = gradient;
    const auto copy = [&](float*& to, const float* values) {
      cudaMalloc(&to, bytes);
      cudaMemcpy(to, values, bytes, cudaMemcpyDefault);
    };
    copy(arrays.parameters, from.parameters);
    for (int k = 0; k < slots; ++k) copy(arrays.state[k], from.state[k]);
  }
  ~OnDevice() {
    cudaFree(const_cast<float*>(arrays.gradient));
    cudaFree(arrays.parameters);
    for (float* state : arrays.state) cudaFree(state);
  }
  void fetch(const Arrays& to, int slots) const {
    cudaMemcpy(to.parameters, arrays.parameters, bytes, cudaMemcpyDefault);
    for (int k = 0; k < slots; ++k) cudaMemcpy(to.state[k], arrays.state[k], bytes, cudaMemcpyDefault);
  }
};

template <class Rule>
int run(const Optimizer& how, const Arrays& arrays, std::int64_t count, float scale, std::int64_t step, bool device) {
  const Rule rule(how, step);
  if (!device) {
    for (std::int64_t i = 0; i < count; ++i) advance(rule, arrays, i, scale);
    return 0;
  }
  const OnDevice there(arrays, count, Rule::slots);
  advance_all<<<static_cast<unsigned>((count + 255) / 256), 256>>>(rule, there.arrays, count, scale);
  const cudaError_t error = cudaDeviceSynchronize();
  there.fetch(arrays, Rule::slots);
  return error != cudaSuccess ? error : cudaGetLastError();
}

}  // namespace
}  // namespace pyccl::kernels

extern "C" int gpus() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

/// `values` are an Optimizer's, in its order. Returns CUDA's error, or -1 for a method that is not one pass.
extern "C" int update(int method, const double* values, float* parameters, float* first, float* second,
                      const float* gradient, std::int64_t count, float scale, std::int64_t step, int device) {
  using namespace pyccl::kernels;
  const Optimizer how{
      static_cast<Method>(method), values[0], values[1], values[2], values[3], values[4], values[5], values[6]};
  const Arrays arrays{parameters, {first, second}, gradient};
  const auto with = [&](auto* rule) {
    return run<std::remove_pointer_t<decltype(rule)>>(how, arrays, count, scale, step, device != 0);
  };
  switch (how.method) {
    case Method::Sgd: return with(static_cast<Sgd*>(nullptr));
    case Method::Momentum: return with(static_cast<Velocity<false>*>(nullptr));
    case Method::Nesterov: return with(static_cast<Velocity<true>*>(nullptr));
    case Method::Adagrad: return with(static_cast<Adagrad*>(nullptr));
    case Method::RmsProp: return with(static_cast<RmsProp*>(nullptr));
    case Method::Adam: return with(static_cast<AdaptiveMoments<false>*>(nullptr));
    case Method::AdamW: return with(static_cast<AdaptiveMoments<true>*>(nullptr));
    case Method::Lamb: break;
    case Method::Ftrl: return with(static_cast<Ftrl*>(nullptr));
    case Method::Lion: return with(static_cast<Lion*>(nullptr));
  }
  return -1;
}
