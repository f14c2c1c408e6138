#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tessera/tessera.hpp"

// What is measured: expressions over arrays that lie on the device, each with the work that nobody
// can do without and with values that the host computes for itself.

namespace tessera::benchmarks::gpu {

/// What limits a row.
enum class Bound : std::uint8_t { kMemory, kProduct, kLink };

using Arrays = std::vector<Array>;

struct Row {
  std::string name;
  Bound bound = Bound::kMemory;
  double bytes =
      0.0;  ///< read and written once, where memory is the bound; else over the link one way
  double operations = 0.0;  ///< of a product
  std::int64_t extent = 0;  ///< of the product whose rate is the bound
  bool keep = false;  ///< the result stays on the device; else it is small and comes to the host
  int repeat = 7;
  double tolerance = 0.0;  ///< of the largest difference, relative to the largest value
  /// The expression, over the group's arrays.
  std::function<Arrays(const Arrays&)> build = {};
  /// A small part of the results; without one, the results.
  std::function<Arrays(const Arrays&)> sample = {};
  /// The same values another way, over arrays that no session holds; without one, sample of build.
  std::function<Arrays(const Arrays&)> expected = {};
  /// Arrays to compare a small computation with instead, where the whole is too much for a host.
  Arrays small = {};
};

/// Rows that share their arrays, which are on the device before the clock starts.
struct Group {
  std::string name;
  DType dtype;
  Shape shape;
  std::int64_t chunk_bytes = 0;
  /// The arrays as they are drawn.
  Arrays source = {};
  std::size_t device_budget_bytes = 0;  ///< 0: what is free
  std::size_t host_budget_bytes = 0;
  std::vector<Row> rows = {};
};

/// Extents of the square products of the groups, whose rate is to be measured.
std::vector<std::int64_t> product_extents(bool quick);
/// `quick`: sizes that take a moment on a host.
std::vector<Group> make_groups(DType dtype, bool quick);

}  // namespace tessera::benchmarks::gpu
