#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "core/scalar_op.hpp"
#include "kernels/program.hpp"

// SIMD loops over contiguous lanes, one per (operation, dtype), chosen at run time for this processor.
// Lane counts are padded: every pointer is readable and writable up to the next multiple of
// kLanePadBytes past n elements, so that a tail runs the same vector code as the body.

namespace tessera::kernels::host {

inline constexpr std::size_t kLanePadBytes = 64;

/// Reads args[0..arity) (n contiguous elements each, of the compute dtype; kWhere: bool, T, T), writes n
/// elements of the result dtype. `out` may equal an input of the same width.
using Loop = void (*)(const void* const* args, void* out, std::int64_t n);

/// The loop for an operation computed in `compute`, or nullptr where the dtype rule excludes it.
Loop find_loop(core::ScalarOp op, DType compute);
/// Conversion as `astype`: float to integer truncates, out-of-range and NaN give an unspecified value
/// that is the same on every call; anything to bool is "not equal to zero"; complex to real takes the real part.
Loop find_cast(DType from, DType to);
/// Two operations in one loop, second(first(x, y), z): what stands between them takes no memory. The results
/// are those of two loops.
enum class PairOp : std::uint8_t {
  kAdd,
  kSubtract,
  kSubtractFrom,  ///< the operand minus what came before
  kMultiply,
};
struct Pair {
  PairOp first;
  PairOp second;
  bool y_uniform;  ///< one value for all elements: y points to it
  bool z_uniform;
};
/// What a pair may be made of: arithmetic of float32 and float64.
std::optional<PairOp> pair_op(core::ScalarOp op, DType compute) noexcept;
/// Its args are x, y and z.
Loop find_pair(const Pair& pair, DType compute);
/// Draws for elements numbered index[0..n) (contiguous int64), written as `dtype`.
void fill_random(const RandomSpec& spec, DType dtype, const std::int64_t* index, void* out, std::int64_t n);
/// The same for elements first, first + 1, ...: faster, same bits.
void fill_random_run(const RandomSpec& spec, DType dtype, std::int64_t first, void* out, std::int64_t n);

/// Name of the SIMD target in use, part of the numeric profile: "AVX3", "AVX2", ...
std::string_view simd_target();

}  // namespace tessera::kernels::host
