#pragma once

#include <cstddef>
#include <cstring>
#include <optional>

#include "device/cuda/cuda_module.h"
#include "tessera/dtype.hpp"

namespace tessera::kernels::cuda {

/// The name of a dtype for cuBLAS and cuSOLVER; none where they have no routines for it.
inline std::optional<TesseraCudaType> cuda_type(DType dtype) noexcept {
  switch (dtype) {
    case DType::kFloat32:
      return TESSERA_CUDA_FLOAT32;
    case DType::kFloat64:
      return TESSERA_CUDA_FLOAT64;
    case DType::kComplex64:
      return TESSERA_CUDA_COMPLEX64;
    case DType::kComplex128:
      return TESSERA_CUDA_COMPLEX128;
    default:
      return std::nullopt;
  }
}

/// A real number as a scalar of such a dtype.
struct CudaScalar {
  alignas(16) std::byte bytes[16] = {};
};

inline CudaScalar cuda_scalar(DType dtype, double value) noexcept {
  CudaScalar out;
  if (dtype == DType::kFloat32 || dtype == DType::kComplex64) {
    const auto single = static_cast<float>(value);
    std::memcpy(out.bytes, &single, sizeof single);
  } else {
    std::memcpy(out.bytes, &value, sizeof value);
  }
  return out;
}

}  // namespace tessera::kernels::cuda
