#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/cuda/program_fields.hpp"

// CUDA C++ of the kernels that write arrays. Two forms:
//   rows   Threads of a block stand side by side along the innermost axis of the stores, each with
//   groups of
//          elements in a row that are read and written as vectors; where the axis is short, in
//          several rows.
//   tiles  Some loads lie tight along another axis. Squares of these two axes are read along that
//   one, turned in
//          shared memory, and written along the stores'.
// Rows are numbered by the other axes. A grid may be smaller than its work: blocks go on in
// strides.

namespace tessera::kernels::cuda {

enum class LoadMode : std::uint8_t {
  kUniform,  ///< one element for a whole row
  kVector,   ///< aligned groups
  kSingle,   ///< element by element, at any stride
  kTurned,   ///< through shared memory
};

/// What the text of a kernel depends on beside the program.
struct MapVariant {
  bool tiled = false;
  int outer_axes = 0;           ///< that number the rows
  int group = 1;                ///< elements in a row of one thread
  int unroll = 1;               ///< groups of one thread under way at once
  int tile = 0;                 ///< side of a square
  bool even_pairs = false;      ///< groups begin at even elements of every draw
  bool single_stores = false;   ///< stores are not tight along the innermost axis
  std::vector<LoadMode> loads;  ///< in the order of ProgramFields::loads
  auto operator<=>(const MapVariant&) const = default;
};

inline constexpr unsigned kMapThreads = 256;
inline constexpr const char* kMapKernel = "map";

/// program_source() of the program, and the kernel `map(const Map)` in this variant.
std::string map_source(const Program& program, const ProgramFields& fields,
                       const MapVariant& variant);

/// Division of numbers below 2^31 by an extent: (((x * magic) >> 32) + x) >> shift.
struct MapDivisor {
  std::uint32_t extent;
  std::uint32_t magic;
  std::uint32_t shift;
  std::uint32_t unused;
};
MapDivisor map_divisor(std::uint32_t extent) noexcept;

/// Elements of padding behind a row of a square in shared memory, so that columns lie in banks of
/// their own.
int tile_padding(std::size_t item_bytes) noexcept;

}  // namespace tessera::kernels::cuda
