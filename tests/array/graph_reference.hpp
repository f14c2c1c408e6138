#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include "array/node.hpp"
#include "tessera/tessera.hpp"

// Small dense arrays of doubles, with which tests state what an operation means, and an interpreter
// of the graph that follows the attributes as they are documented, one element at a time.

namespace tessera::testing {

struct Dense {
  Shape shape;
  std::vector<double> data;

  double& at(const std::vector<std::int64_t>& index);
  double at(const std::vector<std::int64_t>& index) const;
  bool operator==(const Dense&) const = default;
};

/// Calls `visit` with every index of the shape, in C order.
void for_each_index(const Shape& shape,
                    const std::function<void(const std::vector<std::int64_t>&)>& visit);
/// The array whose element at an index is what `value` says.
Dense make_dense(const Shape& shape,
                 const std::function<double(const std::vector<std::int64_t>&)>& value);
/// What the graph says the array holds.
Dense evaluate(const Array& x);

/// One element of an array that may be too large to evaluate: ranges, views, copies and reshapes
/// alone.
double element(const Array& x, const std::vector<std::int64_t>& index);

/// An array of 0, 1, 2, ... in ragged chunks, and the same as Dense.
struct Sample {
  Array array;
  Dense dense;
};
Sample counting(const Shape& shape, std::mt19937& random);
std::int64_t draw(std::mt19937& random, std::int64_t low, std::int64_t high);
ChunkGrid random_grid(const Shape& shape, std::mt19937& random);

}  // namespace tessera::testing
