// The element types, the reduction names and the collectives, each defined once.
#pragma once

#include <complex>
#include <cstddef>
#include <cstdint>
#include <stdexcept>

namespace pyccl {

enum class DataType : std::uint8_t {
  Bool,
  U8,
  I8,
  U16,
  I16,
  U32,
  I32,
  U64,
  I64,
  F16,
  BF16,
  F32,
  F64,
  C64,
  C128,
};
inline constexpr int kDataTypes = 15;

enum class OpKind : std::uint8_t { Sum, Avg, Prod, Min, Max, Band, Bor, Bxor, PremulSum, User };

enum class Collective : std::uint8_t {
  AllReduce,
  ReduceScatter,
  AllGather,
  Broadcast,
  Reduce,
  Gather,
  Scatter,
  AllToAll,
  Barrier,
};
inline constexpr int kCollectives = 9;

/// IEEE binary16, storage only: arithmetic happens in float.
struct Float16 { std::uint16_t bits; };
/// The upper half of a binary32, storage only: arithmetic happens in float.
struct BFloat16 { std::uint16_t bits; };
/// One byte, 0 or 1, as NumPy stores it; a type of its own so that it never adds like an integer.
struct Bool8 { std::uint8_t value; };

template <class T> struct TypeTag { using type = T; };

/// Calls `f(TypeTag<T>{})` for the C++ type behind `dtype`: the only dtype switch in the project.
template <class F> decltype(auto) visit(DataType dtype, F&& f) {
  switch (dtype) {
    case DataType::Bool: return f(TypeTag<Bool8>{});
    case DataType::U8: return f(TypeTag<std::uint8_t>{});
    case DataType::I8: return f(TypeTag<std::int8_t>{});
    case DataType::U16: return f(TypeTag<std::uint16_t>{});
    case DataType::I16: return f(TypeTag<std::int16_t>{});
    case DataType::U32: return f(TypeTag<std::uint32_t>{});
    case DataType::I32: return f(TypeTag<std::int32_t>{});
    case DataType::U64: return f(TypeTag<std::uint64_t>{});
    case DataType::I64: return f(TypeTag<std::int64_t>{});
    case DataType::F16: return f(TypeTag<Float16>{});
    case DataType::BF16: return f(TypeTag<BFloat16>{});
    case DataType::F32: return f(TypeTag<float>{});
    case DataType::F64: return f(TypeTag<double>{});
    case DataType::C64: return f(TypeTag<std::complex<float>>{});
    case DataType::C128: return f(TypeTag<std::complex<double>>{});
  }
  throw std::invalid_argument("unknown DataType");
}

inline std::size_t item_size(DataType dtype) {
  return visit(dtype, [](auto tag) { return sizeof(typename decltype(tag)::type); });
}

inline constexpr bool is_complex(DataType dtype) { return dtype == DataType::C64 || dtype == DataType::C128; }

/// Real or complex: the types on which dividing and scaling are defined.
inline constexpr bool is_floating(DataType dtype) { return dtype >= DataType::F16; }

}  // namespace pyccl
