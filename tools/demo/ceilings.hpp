#pragma once

namespace tessera::demo {

/// What this machine reaches with all cores, measured with plain loops and BLAS.
struct Ceilings {
  double copy_bytes_per_s = 0.0;  ///< bytes read and bytes written
  double read_bytes_per_s = 0.0;
  double flops_per_s = 0.0;  ///< float64 matrix product
};
/// Takes about a second.
Ceilings measure_ceilings();

}  // namespace tessera::demo
