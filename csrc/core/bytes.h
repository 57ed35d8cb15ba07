// Plain values one behind the other: the state of an object, for another process of the same build.
#pragma once

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <type_traits>
#include <vector>

namespace pyccl {

class BytesOut {
 public:
  template <class T> void put(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    add(&value, sizeof value);
  }
  template <class T> void put(const std::vector<T>& values) {
    static_assert(std::is_trivially_copyable_v<T>);
    put(static_cast<std::uint64_t>(values.size()));
    add(values.data(), values.size() * sizeof(T));
  }
  const std::vector<char>& bytes() const { return bytes_; }

 private:
  void add(const void* data, std::size_t n) {
    const auto* from = static_cast<const char*>(data);
    bytes_.insert(bytes_.end(), from, from + n);
  }
  std::vector<char> bytes_;
};

class BytesIn {
 public:
  explicit BytesIn(const std::vector<char>& bytes) : next_(bytes.data()), left_(bytes.size()) {}
  template <class T> void get(T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    take(&value, sizeof value);
  }
  template <class T> void get(std::vector<T>& values) {
    std::uint64_t n = 0;
    get(n);
    if (n > left_ / sizeof(T)) throw std::runtime_error("a copied state is too short");
    values.resize(n);
    take(values.data(), n * sizeof(T));
  }

 private:
  void take(void* to, std::size_t n) {
    if (n > left_) throw std::runtime_error("a copied state is too short");
    if (n > 0) std::memcpy(to, next_, n);
    next_ += n;
    left_ -= n;
  }
  const char* next_;
  std::size_t left_;
};

}  // namespace pyccl
