#pragma once

#include <cstddef>
#include <cstdint>

namespace tessera::kernels::cuda {

/// A matrix in device memory; strides in elements, of any sign, 0 for broadcast axes.
struct DeviceMatrix {
  const std::byte* data = nullptr;
  std::int64_t row_stride = 0;
  std::int64_t col_stride = 0;
};

}  // namespace tessera::kernels::cuda
