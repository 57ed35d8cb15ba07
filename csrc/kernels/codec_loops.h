// Conversions between float32 and what travels. Textual, see ops.h.
// ivdep below: the two ranges do not overlap.

template <class From, class To> void convert(char* to, const char* from, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + kLanes<To> <= count; i += kLanes<To>) To::store(to + i * To::bytes, From::load(from + i * From::bytes));
  if (i < count) store_part<To>(to + i * To::bytes, load_part<From>(from + i * From::bytes, count - i), count - i);
}

inline constexpr std::int64_t kScaleBytes = sizeof(float);
inline constexpr float kSmallestScale = 0x1p-126f;        // smaller ones are subnormal: imprecise
inline constexpr float kLargestScale = 0x1.020406p+121f;  // 127 of it are finite

/// The block's scale, and the values as multiples of it.
[[gnu::always_inline]] inline void encode_block(char* to, const char* from, std::int64_t count) {
  constexpr float kAlign = 0x1.8p+23f;  // adding it rounds to a whole number, which is left in the last bits
  std::int32_t largest = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int32_t magnitude = load_as<std::int32_t>(from + i * 4) & 0x7fffffff;
    largest = magnitude > largest ? magnitude : largest;
  }
  if (largest >= 0x7f800000) {
    store_as(to, __builtin_nanf(""));
    __builtin_memset(to + kScaleBytes, 0, static_cast<std::size_t>(count));
    return;
  }
  float scale = load_as<float>(reinterpret_cast<const char*>(&largest)) / 127;
  scale = scale < kSmallestScale ? kSmallestScale : (scale > kLargestScale ? kLargestScale : scale);
  const float inverse = 1 / scale;
  store_as(to, scale);
  to += kScaleBytes;
#pragma GCC ivdep
  for (std::int64_t i = 0; i < count; ++i) {
    const float aligned = load_as<float>(from + i * 4) * inverse + kAlign;
    to[i] = static_cast<char>(__builtin_bit_cast(std::int32_t, aligned));
  }
}

[[gnu::always_inline]] inline void decode_block(char* to, const char* from, std::int64_t count) {
  const float scale = load_as<float>(from);
  from += kScaleBytes;
#pragma GCC ivdep
  for (std::int64_t i = 0; i < count; ++i)
    store_as(to + i * 4, scale * static_cast<float>(static_cast<signed char>(from[i])));
}

inline void encode_int8(char* to, const char* from, std::int64_t count) {
  for (; count >= kInt8Block; count -= kInt8Block, to += kScaleBytes + kInt8Block, from += kInt8Block * 4)
    encode_block(to, from, kInt8Block);
  if (count > 0) encode_block(to, from, count);
}

inline void decode_int8(char* to, const char* from, std::int64_t count) {
  for (; count >= kInt8Block; count -= kInt8Block, to += kInt8Block * 4, from += kScaleBytes + kInt8Block)
    decode_block(to, from, kInt8Block);
  if (count > 0) decode_block(to, from, count);
}

inline void encode_job(Codec codec, char* to, const char* from, std::int64_t count) {
  switch (codec) {
    case Codec::Float32: __builtin_memcpy(to, from, static_cast<std::size_t>(count * 4)); return;
    case Codec::Float16: return convert<Single32, HalfLanes>(to, from, count);
    case Codec::BFloat16: return convert<Single32, BFloatLanes>(to, from, count);
    case Codec::Int8: return encode_int8(to, from, count);
  }
}

inline void decode_job(Codec codec, char* to, const char* from, std::int64_t count) {
  switch (codec) {
    case Codec::Float32: __builtin_memcpy(to, from, static_cast<std::size_t>(count * 4)); return;
    case Codec::Float16: return convert<HalfLanes, Single32>(to, from, count);
    case Codec::BFloat16: return convert<BFloatLanes, Single32>(to, from, count);
    case Codec::Int8: return decode_int8(to, from, count);
  }
}
