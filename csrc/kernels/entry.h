// From a run-time Reduction to the loops. Textual, see ops.h.

#include "kernels/loops.h"
#include "kernels/update_loops.h"
#include "kernels/codec_loops.h"

/// Copies `count` lanes into the accumulator. The lanes past `count` up to a whole vector are zero.
template <class E> void fill(typename E::V* accumulator, const char* source, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + kLanes<E> <= count; i += kLanes<E>) accumulator[i / kLanes<E>] = E::load(source + i * E::bytes);
  if (i < count) accumulator[i / kLanes<E>] = load_part<E>(source + i * E::bytes, count - i);
}

/// The operand is copied to a block of its own: widened, and aligned whatever the source is.
template <class E> int fold_user(const Job& job, UserFunction user) {
  Accumulator<E> accumulator, operand;
  std::int64_t size = first_block<E>(job);
  for (std::int64_t start = 0; start < job.count; start += size, size = kBlock<E>) {
    const std::int64_t count = job.count - start < size ? job.count - start : size;
    fill<E>(accumulator, job.sources[0] + start * E::bytes, count);
    for (int k = 1; k < job.nsources; ++k) {
      fill<E>(operand, job.sources[k] + start * E::bytes, count);
      std::int32_t error = 0;
      user(accumulator, operand, count / job.lanes_per_element, &error);
      if (error != 0) return error;
    }
    emit<E>(job, accumulator, start, count);
  }
  return 0;
}

/// One source: its bits are kept unless they are divided.
template <class E> void forward(const Job& job) {
  if (job.divisor != 1) {
    Accumulator<E> accumulator;
    std::int64_t size = first_block<E>(job);
    for (std::int64_t start = 0; start < job.count; start += size, size = kBlock<E>) {
      const std::int64_t count = job.count - start < size ? job.count - start : size;
      fill<E>(accumulator, job.sources[0] + start * E::bytes, count);
      emit<E>(job, accumulator, start, count);
    }
    return;
  }
  for (int d = 0; d < job.ndests; ++d) {
    if (job.dests[d] == job.sources[0]) continue;
    if (job.stream) stream_bytes(job.dests[d], job.sources[0], job.count * E::bytes);
    else __builtin_memcpy(job.dests[d], job.sources[0], static_cast<std::size_t>(job.count * E::bytes));
  }
}

template <class T> inline constexpr bool kComplex = LanesOf<T>::number == 2;
template <class T> inline constexpr bool kFloating = std::is_floating_point_v<typename LanesOf<T>::Signed::Lane>;

struct Reducer {
  const Reduction& how;
  Job job;

  template <class T> int operator()(TypeTag<T>) {
    using Signed = typename LanesOf<T>::Signed;
    using Wrapping = typename LanesOf<T>::Wrapping;
    job.lanes_per_element = LanesOf<T>::number;
    job.count *= job.lanes_per_element;
    if (job.nsources == 1) return forward<Wrapping>(job), 0;
    if (how.op == OpKind::User) return fold_user<typename LanesOf<T>::Linear>(job, how.user);
    if constexpr (std::is_same_v<T, Bool8>) logical();
    else if (how.op == OpKind::Min || how.op == OpKind::Max) ordered<T, Signed>();
    else if (how.op == OpKind::Prod) product<T, Wrapping>();
    else if (kFloating<T> || how.op == OpKind::Sum) fold<Sum, Wrapping>(job);
    else bitwise(static_cast<std::int64_t>(sizeof(T)));
    return 0;
  }

 private:
  template <class T, class E> void ordered() {
    if constexpr (!kComplex<T>) {
      if (how.op == OpKind::Min) fold<Min, E>(job);
      else fold<Max, E>(job);
    }
  }
  template <class T, class E> void product() {
    if constexpr (kComplex<T>) fold<ComplexProd, E>(job);
    else fold<Prod, E>(job);
  }
  void bitwise(std::int64_t size) {
    job.count *= size;
    if (how.op == OpKind::Band) fold<Band, Plain<std::uint8_t>>(job);
    else if (how.op == OpKind::Bor) fold<Bor, Plain<std::uint8_t>>(job);
    else fold<Bxor, Plain<std::uint8_t>>(job);
  }
  /// On 0 and 1 the minimum and the product are `and`, the maximum is `or`.
  void logical() {
    if (how.op == OpKind::Bxor) fold<Bxor, Plain<std::uint8_t>>(job);
    else if (how.op == OpKind::Max || how.op == OpKind::Bor) fold<Bor, Plain<std::uint8_t>>(job);
    else fold<Band, Plain<std::uint8_t>>(job);
  }
};

struct Scaler {
  char* dst;
  const char* src;
  std::int64_t count;
  double factor;

  template <class T> void operator()(TypeTag<T>) const {
    if constexpr (kFloating<T>) run<typename LanesOf<T>::Signed>(count * LanesOf<T>::number);
  }

 private:
  template <class E> void run(std::int64_t lanes) const {
    const auto by = static_cast<typename E::Lane>(factor);
    std::int64_t i = 0;
    for (; i + kLanes<E> <= lanes; i += kLanes<E>)
      E::store(dst + i * E::bytes, E::multiply(E::load(src + i * E::bytes), by));
    if (i < lanes)
      store_part<E>(dst + i * E::bytes, E::multiply(load_part<E>(src + i * E::bytes, lanes - i), by), lanes - i);
  }
};

inline int reduce_job(const Reduction& how, const Job& job) {
  Job adapted = job;
  for (int k = 0; k < job.nsources; ++k)  // a line that was just read gains nothing from passing the caches
    for (int d = 0; d < job.ndests; ++d) adapted.stream = adapted.stream && job.sources[k] != job.dests[d];
  const int error = visit(how.dtype, Reducer{how, adapted});
  if (adapted.stream) stream_fence();
  return error;
}

inline void scale_elements(DataType dtype, char* dst, const char* src, std::int64_t count, double factor) {
  visit(dtype, Scaler{dst, src, count, factor});
}
