#pragma once

#include <vector>

#include "array/node.hpp"

namespace tessera::array {

/// A stretch [lo, hi) of an axis of the output and how it reads the input's axis in the same place.
struct Stretch {
  std::int64_t lo = 0;
  std::int64_t hi = 0;
  AxisRead read;
};

/// An array made of regions of others. Views among the inputs are folded into the reads; parts that
/// cover nothing are left out.
Array make_assemble(std::string name, std::vector<Assemble::Part> parts, std::vector<Array> inputs,
                    std::optional<Scalar> fill, DType dtype, ChunkGrid grid,
                    const std::source_location& where);

/// An array of x's rank, every axis of which is put together from stretches of x's: the parts are
/// all combinations of them.
Array assemble_stretches(std::string name, const Array& x,
                         const std::vector<std::vector<Stretch>>& stretches,
                         std::optional<Scalar> fill, ChunkGrid grid,
                         const std::source_location& where);

/// Blocks of one array that a task may gather to read it in another grid: more are copied into that
/// grid first, for they must all be there at once.
constexpr std::int64_t kMostGathered = 4;

/// x in the given grid, which has x's shape; x itself when it has that grid.
Array rechunk_to(const Array& x, ChunkGrid grid, const std::source_location& where);

}  // namespace tessera::array
