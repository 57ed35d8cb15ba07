// Every reduction operation, once, on vectors of lanes. Textual: each cpu_*.cc includes entry.h, which
// includes loops.h, lanes.h and this file, inside the namespace of its instruction set, so that no function compiled
// for a newer CPU can stand in for one of the baseline.

struct Sum {
  template <class V> [[gnu::always_inline]] static V apply(V a, V b) { return a + b; }
};

struct Prod {
  template <class V> [[gnu::always_inline]] static V apply(V a, V b) { return a * b; }
};

/// Lanes are re, im, re, im ... The two products are rounded before they are added, as in NumPy's scalar code.
struct ComplexProd {
  template <class V> [[gnu::always_inline]] static V apply(V a, V b) {
    return apply(a, b, std::make_index_sequence<sizeof(V) / sizeof(a[0])>{});
  }

 private:
  template <class V, std::size_t... I> [[gnu::always_inline]] static V apply(V a, V b, std::index_sequence<I...>) {
    using Index = decltype(a < a);
    const V real = __builtin_shuffle(a, Index{(I & ~std::size_t{1})...});
    const V imaginary = __builtin_shuffle(a, Index{(I | 1)...});
    const V swapped = __builtin_shuffle(b, Index{(I ^ 1)...});
    const V sign{(I % 2 ? 1 : -1)...};
    return real * b + sign * (imaginary * swapped);
  }
};

/// Propagates NaN, as numpy.minimum does.
struct Min {
  template <class V> [[gnu::always_inline]] static V apply(V a, V b) { return ((a <= b) | (a != a)) ? a : b; }
};

/// Propagates NaN, as numpy.maximum does.
struct Max {
  template <class V> [[gnu::always_inline]] static V apply(V a, V b) { return ((a >= b) | (a != a)) ? a : b; }
};

struct Band {
  template <class V> [[gnu::always_inline]] static V apply(V a, V b) { return a & b; }
};

struct Bor {
  template <class V> [[gnu::always_inline]] static V apply(V a, V b) { return a | b; }
};

struct Bxor {
  template <class V> [[gnu::always_inline]] static V apply(V a, V b) { return a ^ b; }
};
