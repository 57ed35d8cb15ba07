// The loops over lanes. Textual, see ops.h; the including file has defined stream_store and stream_fence.
// ivdep below: a dest is equal to a source or disjoint from it, hence no iteration depends on another.

#include "kernels/lanes.h"

inline constexpr int kFan = 4;            // sources folded per pass
inline constexpr int kBlockBytes = 2048;  // of accumulator: stays in L1 beside the lines of kFan sources
template <class E> inline constexpr std::int64_t kBlock = kBlockBytes / static_cast<int>(sizeof(typename E::Lane));
template <class E> using Accumulator = typename E::V[kBlock<E> / kLanes<E>];

/// The last `count` < kLanes elements of a pass, from element `start` on.
template <class Op, class E, bool Resume>
[[gnu::noinline]] void tail(typename E::V* accumulator, const char* const* sources, int nsources, char* const* dests,
                            int ndests, std::int64_t start, std::int64_t count) {
  typename E::V value;
  if constexpr (Resume) value = *accumulator;
  else value = load_part<E>(sources[0] + start * E::bytes, count);
  for (int k = !Resume; k < nsources; ++k)
    value = E::template apply<Op>(value, load_part<E>(sources[k] + start * E::bytes, count));
  if (ndests == 0) *accumulator = value;
  for (int d = 0; d < ndests; ++d) store_part<E>(dests[d] + start * E::bytes, value, count);
}

/// sources -> dests, or -> accumulator when Dests is 0; the fold begins with the accumulator when Resume.
template <class Op, class E, int Sources, bool Resume, int Dests> struct Pass {
  using V = typename E::V;

  static void run(V* accumulator, const char* const* sources, char* const* dests, std::int64_t count) {
    const char* from[Sources];
    char* to[Dests + 1];
    for (int k = 0; k < Sources; ++k) from[k] = sources[k];
    for (int d = 0; d < Dests; ++d) to[d] = dests[d];
    std::int64_t i = 0;
#pragma GCC unroll 2
    for (; i + kLanes<E> <= count; i += kLanes<E>) {
      V value;
      if constexpr (Resume) value = accumulator[i / kLanes<E>];
      else value = E::load(from[0] + i * E::bytes);
#pragma GCC unroll 4
      for (int k = !Resume; k < Sources; ++k) value = E::template apply<Op>(value, E::load(from[k] + i * E::bytes));
      if constexpr (Dests == 0) accumulator[i / kLanes<E>] = value;
#pragma GCC unroll 2
      for (int d = 0; d < Dests; ++d) E::store(to[d] + i * E::bytes, value);
    }
    if (i < count) tail<Op, E, Resume>(accumulator + i / kLanes<E>, sources, Sources, dests, Dests, i, count - i);
  }
};

template <class Op, class E, bool Resume, int Dests> void pass(typename E::V* accumulator, const char* const* sources,
                                                               int nsources, char* const* dests, std::int64_t count) {
  switch (nsources) {
    case 1: return Pass<Op, E, 1, Resume, Dests>::run(accumulator, sources, dests, count);
    case 2: return Pass<Op, E, 2, Resume, Dests>::run(accumulator, sources, dests, count);
    case 3: return Pass<Op, E, 3, Resume, Dests>::run(accumulator, sources, dests, count);
    default: return Pass<Op, E, kFan, Resume, Dests>::run(accumulator, sources, dests, count);
  }
}

template <class Op, class E, bool Resume> void pass(typename E::V* accumulator, const char* const* sources,
                                                    int nsources, char* const* dests, int ndests, std::int64_t count) {
  switch (ndests) {
    case 0: return pass<Op, E, Resume, 0>(accumulator, sources, nsources, dests, count);
    case 1: return pass<Op, E, Resume, 1>(accumulator, sources, nsources, dests, count);
    default: return pass<Op, E, Resume, 2>(accumulator, sources, nsources, dests, count);
  }
}

/// Past the caches: no read for ownership, nothing evicted. The caller fences.
inline void stream_bytes(char* dst, const char* src, std::int64_t bytes) {
  using V = Vector<std::uint8_t>;
  const auto misaligned = static_cast<std::int64_t>(-reinterpret_cast<std::uintptr_t>(dst) % kVectorBytes);
  const std::int64_t head = misaligned < bytes ? misaligned : bytes;
  __builtin_memcpy(dst, src, static_cast<std::size_t>(head));
  std::int64_t i = head;
#pragma GCC unroll 4
  for (; i + kVectorBytes <= bytes; i += kVectorBytes) stream_store(dst + i, load_as<V>(src + i));
  __builtin_memcpy(dst + i, src + i, static_cast<std::size_t>(bytes - i));
}

inline void stream_copy(char* dst, const char* src, std::int64_t bytes) {
  stream_bytes(dst, src, bytes);
  stream_fence();
}

/// Divides and rounds `count` elements of the accumulator.
template <class E> void finish(char* to, const typename E::V* accumulator, std::int64_t count, std::int64_t divisor) {
  using Lane = typename E::Lane;
  if constexpr (std::is_floating_point_v<Lane>) {
    const auto by = static_cast<Lane>(divisor);
    const Lane reciprocal = 1 / by;
    const std::int64_t whole = count - count % kLanes<E>;
    const bool exact = (divisor & (divisor - 1)) == 0;  // then the reciprocal is, too, and a product is faster
    const auto quotient = [&](typename E::V value) __attribute__((always_inline)) {
      return exact ? E::multiply(value, reciprocal) : E::divide(value, by);
    };
    for (std::int64_t i = 0; i < whole; i += kLanes<E>)
      E::store(to + i * E::bytes, quotient(accumulator[i / kLanes<E>]));
    if (whole < count) store_part<E>(to + whole * E::bytes, quotient(accumulator[whole / kLanes<E>]), count - whole);
  }
}

/// Finishes the accumulator's first `count` elements and writes them to every dest from element `start` on.
template <class E> void emit(const Job& job, const typename E::V* accumulator, std::int64_t start, std::int64_t count) {
  const char* ready = reinterpret_cast<const char*>(accumulator);
  alignas(kVectorBytes) char finished[E::bytes * kBlock<E>];
  int done = 0;
  if (job.divisor != 1 || E::bytes != sizeof(typename E::Lane)) {
    char* first = job.stream ? finished : job.dests[done++] + start * E::bytes;
    finish<E>(first, accumulator, count, job.divisor);
    ready = first;
  }
  for (int d = done; d < job.ndests; ++d) {
    char* to = job.dests[d] + start * E::bytes;
    if (job.stream) stream_bytes(to, ready, count * E::bytes);
    else __builtin_memcpy(to, ready, static_cast<std::size_t>(count * E::bytes));
  }
}

/// Elements of the first block: with it done, the blocks of a streamed dest begin at a vector's boundary.
template <class E> std::int64_t first_block(const Job& job) {
  const auto misaligned = static_cast<std::int64_t>(-reinterpret_cast<std::uintptr_t>(job.dests[0]) % kVectorBytes);
  const std::int64_t lanes = job.stream ? misaligned / E::bytes : 0;
  const std::int64_t until_aligned = lanes - lanes % job.lanes_per_element;
  return until_aligned == 0 ? kBlock<E> : until_aligned;
}

/// Folds one block, passing through the accumulator; the result goes straight to the dests when `direct`.
template <class Op, class E>
void fold_block(const Job& job, bool direct, typename E::V* accumulator, std::int64_t start, std::int64_t count) {
  char* dests[2] = {};
  for (int d = 0; direct && d < job.ndests; ++d) dests[d] = job.dests[d] + start * E::bytes;
  for (int taken = 0; taken < job.nsources;) {
    const int left = job.nsources - taken, fan = left < kFan ? left : kFan;
    const char* sources[kFan];
    for (int k = 0; k < fan; ++k) sources[k] = job.sources[taken + k] + start * E::bytes;
    const int ndests = direct && fan == left ? job.ndests : 0;
    if (taken == 0) pass<Op, E, false>(accumulator, sources, fan, dests, ndests, count);
    else pass<Op, E, true>(accumulator, sources, fan, dests, ndests, count);
    taken += fan;
  }
}

template <class Op, class E> void fold(const Job& job) {
  const bool direct = !job.stream && job.divisor == 1 && job.ndests <= 2;
  if (direct && job.nsources <= kFan)
    return pass<Op, E, false>(nullptr, job.sources, job.nsources, job.dests, job.ndests, job.count);
  Accumulator<E> accumulator;
  std::int64_t size = first_block<E>(job);
  for (std::int64_t start = 0; start < job.count; start += size, size = kBlock<E>) {
    const std::int64_t count = job.count - start < size ? job.count - start : size;
    fold_block<Op, E>(job, direct, accumulator, start, count);
    if (!direct) emit<E>(job, accumulator, start, count);
  }
}
