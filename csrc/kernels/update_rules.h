// Every optimiser's rule, once, for vectors of lanes and for single floats. Textual, see ops.h. `apply` gets the
// parameters, their state and the scaled gradient. Constants are worked out in double and rounded once, on the host.
// nvcc compiles the same rules for single floats on a GPU (tests/test_update_rules_cuda.py: the same bits).

#ifdef __CUDACC__
#define PYCCL_RULE __host__ __device__ __forceinline__
#else
#define PYCCL_RULE [[gnu::always_inline]] inline
#endif

/// One instruction: the build says -fno-math-errno.
template <class V> PYCCL_RULE V square_root(V value) {
  if constexpr (sizeof(V) == sizeof(float)) {
    return sqrtf(value);
  } else {
    for (std::size_t i = 0; i < sizeof(V) / sizeof(float); ++i) value[i] = __builtin_sqrtf(value[i]);
    return value;
  }
}

/// By multiplications alone, unlike std::pow, whose last bit is a matter of the C library.
inline double power(double base, std::int64_t exponent) {
  double result = 1;
  for (; exponent > 0; exponent >>= 1, base *= base)
    if (exponent & 1) result *= base;
  return result;
}

struct Sgd {
  static constexpr int slots = 0;
  Sgd(const Optimizer& how, std::int64_t) : rate(float(how.rate)), decay(float(how.decay)) {}
  template <class V> PYCCL_RULE void apply(V& w, V*, V g) const { w -= rate * (g + decay * w); }

 private:
  float rate, decay;
};

template <bool Ahead> struct Velocity {
  static constexpr int slots = 1;
  Velocity(const Optimizer& how, std::int64_t)
      : rate(float(how.rate)), momentum(float(how.first)), decay(float(how.decay)) {}
  template <class V> PYCCL_RULE void apply(V& w, V* state, V g) const {
    g += decay * w;
    state[0] = momentum * state[0] + g;
    if constexpr (Ahead) w -= rate * (g + momentum * state[0]);
    else w -= rate * state[0];
  }

 private:
  float rate, momentum, decay;
};

struct Adagrad {
  static constexpr int slots = 1;
  Adagrad(const Optimizer& how, std::int64_t)
      : rate(float(how.rate)), epsilon(float(how.epsilon)), decay(float(how.decay)) {}
  template <class V> PYCCL_RULE void apply(V& w, V* state, V g) const {
    g += decay * w;
    state[0] += g * g;
    w -= rate * g / (square_root(state[0]) + epsilon);
  }

 private:
  float rate, epsilon, decay;
};

struct RmsProp {
  static constexpr int slots = 1;
  RmsProp(const Optimizer& how, std::int64_t)
      : rate(float(how.rate)), second(float(how.second)), fresh(float(1 - how.second)), epsilon(float(how.epsilon)),
        decay(float(how.decay)) {}
  template <class V> PYCCL_RULE void apply(V& w, V* state, V g) const {
    g += decay * w;
    state[0] = second * state[0] + fresh * (g * g);
    w -= rate * g / (square_root(state[0]) + epsilon);
  }

 private:
  float rate, second, fresh, epsilon, decay;
};

/// What Adam and its kin have in common. `correction` is left to them: a factor of the rate.
struct Moments {
  double correction;  // 1 / (1 - first^step)

  Moments(const Optimizer& how, std::int64_t step)
      : correction(1 / (1 - power(how.first, step))), first(float(how.first)), fresh_first(float(1 - how.first)),
        second(float(how.second)), fresh_second(float(1 - how.second)),
        root(float(1 / __builtin_sqrt(1 - power(how.second, step)))), epsilon(float(how.epsilon)) {}
  template <class V> PYCCL_RULE void advance(V* state, V g) const {
    state[0] = first * state[0] + fresh_first * g;
    state[1] = second * state[1] + fresh_second * (g * g);
  }
  template <class V> PYCCL_RULE V direction(const V* state) const {
    return state[0] / (square_root(state[1]) * root + epsilon);
  }

 private:
  float first, fresh_first, second, fresh_second, root, epsilon;
};

template <bool Decoupled> struct AdaptiveMoments {
  static constexpr int slots = 2;
  AdaptiveMoments(const Optimizer& how, std::int64_t step)
      : moments(how, step), rate(float(how.rate * moments.correction)),
        decay(float(Decoupled ? 1 - how.rate * how.decay : how.decay)) {}
  template <class V> PYCCL_RULE void apply(V& w, V* state, V g) const {
    if constexpr (Decoupled) w *= decay;
    else g += decay * w;
    moments.advance(state, g);
    w -= rate * moments.direction(state);
  }

 private:
  Moments moments;
  float rate, decay;
};

/// Not of one pass: the step's length follows from the norms of the parameters and of all that `toward` gives.
struct Lamb {
  Lamb(const Optimizer& how, std::int64_t step)
      : moments(how, step), correction(float(moments.correction)), decay(float(how.decay)) {}
  template <class V> PYCCL_RULE V toward(V w, const V* state) const {
    return correction * moments.direction(state) + decay * w;
  }

  Moments moments;

 private:
  float correction, decay;
};

struct Ftrl {
  static constexpr int slots = 2;
  Ftrl(const Optimizer& how, std::int64_t step)
      : per_rate(float(1 / how.rate)), beta(float(how.epsilon)), l1(float(how.l1)), l2(float(how.l2)),
        begins(step == 1) {}
  template <class V> PYCCL_RULE void apply(V& w, V* state, V g) const {
    V &z = state[0], &squares = state[1];
    const V before = square_root(squares);
    // The z whose weights are w: 0 for the paper's weights of 0, and others stand until a gradient moves them.
    if (begins) z = -(w * ((beta + before) * per_rate + l2) + (w > 0 ? V{} + l1 : (w < 0 ? V{} - l1 : V{})));
    squares += g * g;
    const V root = square_root(squares);
    z += g - (root - before) * per_rate * w;
    const V shrunk = z > 0 ? z - l1 : z + l1;
    w = (z <= l1) & (z >= -l1) ? V{} : -shrunk / ((beta + root) * per_rate + l2);
  }

 private:
  float per_rate, beta, l1, l2;
  bool begins;
};

struct Lion {
  static constexpr int slots = 1;
  Lion(const Optimizer& how, std::int64_t)
      : rate(float(how.rate)), first(float(how.first)), fresh_first(float(1 - how.first)), second(float(how.second)),
        fresh_second(float(1 - how.second)), decay(float(how.decay)) {}
  template <class V> PYCCL_RULE void apply(V& w, V* state, V g) const {
    const V mixed = first * state[0] + fresh_first * g;
    const V sign = mixed > 0 ? V{} + 1 : (mixed < 0 ? V{} - 1 : mixed);  // a NaN stays one
    w -= rate * (sign + decay * w);
    state[0] = second * state[0] + fresh_second * g;
  }

 private:
  float rate, first, fresh_first, second, fresh_second, decay;
};
