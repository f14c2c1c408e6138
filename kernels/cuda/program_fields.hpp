#pragma once

#include <concepts>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "kernels/program.hpp"

// Which operands and numbers of a program its kernels are told of, in which order, and how they lie
// in a kernel's parameters: everything in multiples of 8 bytes.

namespace tessera::kernels::cuda {

struct ProgramFields {
  std::vector<bool> used;          ///< by instruction: something that is stored or reduced needs it
  std::vector<int> loads;          ///< slots that are read, ascending
  std::vector<DType> load_dtypes;  ///< of these
  std::vector<int> indices;        ///< slots, ascending
  std::vector<int> numbers;        ///< instructions that are constants or draws
  bool draws = false;
};
ProgramFields fields_of(const Program& program);

/// A kernel parameter in the making.
class ParamsWriter {
 public:
  template <typename T>
  requires(std::is_trivially_copyable_v<T>) void add(const T& value) {
    const std::size_t at = bytes_.size();
    bytes_.resize(at + (sizeof(T) + 7) / 8 * 8);
    std::memcpy(bytes_.data() + at, &value, sizeof(T));
  }
  /// Fields of 8 bytes, as many as an axis array of the text has: at least one.
  void add_axes(std::span<const std::int64_t> values, std::int64_t when_none);
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

/// `struct Constants`, and its contents.
std::string constants_text(const Program& program, const ProgramFields& fields);
void add_constants(const Program& program, const ProgramFields& fields, ParamsWriter& out);

/// Elements of an array with one for each of `rank` axes.
inline int axis_count(int rank) noexcept { return rank > 0 ? rank : 1; }

}  // namespace tessera::kernels::cuda
