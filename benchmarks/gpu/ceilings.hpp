#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tessera/dtype.hpp"

struct TesseraCudaApi;

// What a device and its link reach, measured through the same table of functions that the engine
// uses.

namespace tessera::benchmarks::gpu {

/// Repetitions of one measurement, in seconds.
struct Timed {
  std::vector<double> seconds;
  double median() const;
};

struct Ceilings {
  double copy_bytes_per_s = 0.0;       ///< device memory to device memory, bytes read and written
  double to_device_bytes_per_s = 0.0;  ///< from pinned host memory
  double to_host_bytes_per_s = 0.0;
  /// One cuBLAS product of square matrices, by element type and extent ("float64/16384"); FLOP/s.
  std::map<std::string, double> product_flops_per_s;
  /// Every repetition behind these.
  std::map<std::string, Timed> timed;
  /// What could not be measured, and why.
  std::map<std::string, std::string> failed;

  static std::string product_key(DType dtype, std::int64_t n);
  /// The rate of the product of this extent, or of the largest one measured; 0: none was.
  double product(DType dtype, std::int64_t n) const;
};

/// Takes some 15 s, with `quick` less than one. `extents` of square products, for both element
/// types.
Ceilings measure_ceilings(const TesseraCudaApi& api, int device, bool quick,
                          const std::vector<std::int64_t>& extents);

}  // namespace tessera::benchmarks::gpu
