// binary16 <-> binary32 for CPUs without the instruction, same bits as the instruction. Textual, see ops.h.
// Subnormals are built by adding to a normal number, not by scaling, so that a flush-to-zero mode does not lose them.
// Not inlined: a call is nothing beside these thirty instructions, and there are hundreds of loops.

using HalfVector = std::uint16_t __attribute__((vector_size(kVectorBytes / 2)));
using WordVector = std::int32_t __attribute__((vector_size(kVectorBytes)));
using FloatVector = float __attribute__((vector_size(kVectorBytes)));

[[gnu::noinline]] FloatVector widen_half(HalfVector half) {
  constexpr int kExponent = 0x7c00 << 13, kRebias = (127 - 15) << 23;
  const WordVector bits = __builtin_convertvector(half, WordVector);
  const WordVector magnitude = (bits & 0x7fff) << 13, exponent = magnitude & kExponent;
  const FloatVector smallest = (FloatVector)(WordVector{} + (113 << 23));
  const WordVector subnormal = (WordVector)((FloatVector)(magnitude + (113 << 23)) - smallest);
  const WordVector quiet = (magnitude & 0x7fffff) != 0 ? WordVector{} + 0x400000 : WordVector{};
  const WordVector special = (magnitude + ((255 - 31) << 23)) | quiet;
  const WordVector normal = magnitude + kRebias;
  const WordVector result = exponent == 0 ? subnormal : (exponent == kExponent ? special : normal);
  return (FloatVector)(result | ((bits & 0x8000) << 16));
}

[[gnu::noinline]] HalfVector narrow_half(FloatVector value) {
  constexpr int kInfinity = 255 << 23, kTooLarge = (127 + 16) << 23, kSmallestNormal = 113 << 23;
  constexpr int kAlign = (127 - 15 + 23 - 10 + 1) << 23;  // adding this float leaves the subnormal's bits at the end
  const WordVector bits = (WordVector)value, magnitude = bits & 0x7fffffff;
  const WordVector nan = 0x7e00 | ((magnitude >> 13) & 0x3ff);
  const WordVector large = magnitude > kInfinity ? nan : WordVector{} + 0x7c00;
  const WordVector subnormal = (WordVector)((FloatVector)magnitude + (FloatVector)(WordVector{} + kAlign)) - kAlign;
  const WordVector normal = (magnitude + ((15 - 127) * (1 << 23)) + 0xfff + ((magnitude >> 13) & 1)) >> 13;
  const WordVector small = magnitude < kSmallestNormal ? subnormal : normal;
  const WordVector result = magnitude >= kTooLarge ? large : small;
  return __builtin_convertvector(result | ((bits >> 16) & 0x8000), HalfVector);
}
