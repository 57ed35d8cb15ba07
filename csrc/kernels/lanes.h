// How elements become vector lanes. Textual, see ops.h; the including file has defined kVectorBytes,
// widen_half and narrow_half.

#include "kernels/ops.h"

template <class T, int Bytes = kVectorBytes> struct VectorOf { typedef T type __attribute__((vector_size(Bytes))); };
template <class T, int Bytes = kVectorBytes> using Vector = typename VectorOf<T, Bytes>::type;

using Floats = Vector<float>;
using Halves = Vector<std::uint16_t, kVectorBytes / 2>;

template <class V> [[gnu::always_inline]] inline V load_as(const char* from) {
  V value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

template <class V> [[gnu::always_inline]] inline void store_as(char* to, V value) {
  __builtin_memcpy(to, &value, sizeof value);
}

/// What a struct of lanes is when one machine vector holds it.
template <class T> struct Single {
  using Lane = T;
  using V = Vector<T>;
  template <class Op> [[gnu::always_inline]] static V apply(V a, V b) { return Op::apply(a, b); }
  [[gnu::always_inline]] static V multiply(V a, T by) { return a * by; }
  [[gnu::always_inline]] static V divide(V a, T by) { return a / by; }
};

/// Elements that are reduced in their own type. Complex numbers are pairs of lanes.
template <class T> struct Plain : Single<T> {
  using V = Vector<T>;
  static constexpr std::int64_t bytes = sizeof(T);
  [[gnu::always_inline]] static V load(const char* from) { return load_as<V>(from); }
  [[gnu::always_inline]] static void store(char* to, V value) { store_as(to, value); }
};

struct HalfLanes : Single<float> {
  static constexpr std::int64_t bytes = 2;
  [[gnu::always_inline]] static V load(const char* from) { return widen_half(load_as<Halves>(from)); }
  [[gnu::always_inline]] static void store(char* to, V value) { store_as(to, (Halves)narrow_half(value)); }
};

using Words = Vector<std::uint32_t>;

/// The upper 16 bits hold `value` rounded to the nearest bfloat16, ties to even; a NaN stays one and is made quiet.
[[gnu::always_inline]] inline Words round_to_bfloat(Floats value) {
  const Words bits = (Words)value;
  return value != value ? bits | 0x400000 : bits + 0x7fff + ((bits >> 16) & 1);
}

/// The lanes of a user's operation, which sees float after float.
struct BFloatLanes : Single<float> {
  static constexpr std::int64_t bytes = 2;
  [[gnu::always_inline]] static V load(const char* from) {
    return (V)(__builtin_convertvector(load_as<Halves>(from), Words) << 16);
  }
  [[gnu::always_inline]] static void store(char* to, V value) {
    store_as(to, __builtin_convertvector(round_to_bfloat(value) >> 16, Halves));
  }
};

/// The lanes of every other operation: elements 0, 2, ... and 1, 3, ... apart, which costs no shuffles.
struct BFloatPairs {
  struct V { Floats even, odd; };
  using Lane = float;
  static constexpr std::int64_t bytes = 2;
  [[gnu::always_inline]] static V load(const char* from) {
    const Words both = load_as<Words>(from);
    return {(Floats)(both << 16), (Floats)(both & 0xffff0000)};
  }
  [[gnu::always_inline]] static void store(char* to, V value) {
    store_as(to, (round_to_bfloat(value.even) >> 16) | (round_to_bfloat(value.odd) & 0xffff0000));
  }
  template <class Op> [[gnu::always_inline]] static V apply(V a, V b) {
    return {Op::apply(a.even, b.even), Op::apply(a.odd, b.odd)};
  }
  [[gnu::always_inline]] static V multiply(V a, float by) { return {a.even * by, a.odd * by}; }
  [[gnu::always_inline]] static V divide(V a, float by) { return {a.even / by, a.odd / by}; }
};

template <class E> inline constexpr std::int64_t kLanes = sizeof(typename E::V) / sizeof(typename E::Lane);

/// The last `count` < kLanes elements, the missing ones zero.
template <class E> [[gnu::always_inline]] inline typename E::V load_part(const char* from, std::int64_t count) {
  char whole[kVectorBytes] = {};
  __builtin_memcpy(whole, from, static_cast<std::size_t>(count * E::bytes));
  return E::load(whole);
}

template <class E> [[gnu::always_inline]] inline void store_part(char* to, typename E::V value, std::int64_t count) {
  char whole[kVectorBytes];
  E::store(whole, value);
  __builtin_memcpy(to, whole, static_cast<std::size_t>(count * E::bytes));
}

/// The lanes of an element type and their number in one element. Integers wrap, hence sums and products of a signed
/// type are those of the unsigned one; only Min and Max look at the sign. Linear lanes are in memory's order.
template <class T> struct LanesOf {
  using Signed = Plain<T>;
  using Wrapping = Signed;
  using Linear = Signed;
  static constexpr int number = 1;
};
template <class T>
  requires(std::is_integral_v<T>)
struct LanesOf<T> {
  using Signed = Plain<T>;
  using Wrapping = Plain<std::make_unsigned_t<T>>;
  using Linear = Wrapping;
  static constexpr int number = 1;
};
template <class T> struct LanesOf<std::complex<T>> {
  using Signed = Plain<T>;
  using Wrapping = Signed;
  using Linear = Signed;
  static constexpr int number = 2;
};
template <> struct LanesOf<Bool8> : LanesOf<std::uint8_t> {};
template <> struct LanesOf<Float16> {
  using Linear = HalfLanes;
  using Signed = HalfLanes;
  using Wrapping = HalfLanes;
  static constexpr int number = 1;
};
template <> struct LanesOf<BFloat16> {
  using Linear = BFloatLanes;
  using Signed = BFloatPairs;
  using Wrapping = BFloatPairs;
  static constexpr int number = 1;
};
