#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <source_location>
#include <vector>

#include "tessera/array.hpp"
#include "tessera/chunk_grid.hpp"
#include "tessera/export.hpp"

// Memory of GPUs that a program has, as arrays, without a copy. What is computed comes out by
// Session::compute_blocks() (tessera/session.hpp).

namespace tessera {

struct CudaMemoryOptions {
  Chunks chunks = {};
  /// Elements to step along each axis, 0 and negative ones allowed. Default: dense, C order.
  std::optional<std::vector<std::int64_t>> strides = std::nullopt;
  /// Kept alive as long as an array reads the memory; what it does at its end frees the memory.
  std::shared_ptr<const void> owner = nullptr;
  /// The stream (cudaStream_t, CUstream) on which the memory is written, null for the device's
  /// default stream: reads come after what is on it at the time of the call. Without one the memory
  /// may be read now.
  std::optional<void*> stream = std::nullopt;
};
/// An array that reads memory of a GPU without copying it when it is made. `data` is the address of
/// the element at index (0, 0, ...), a multiple of its element's size (of half of it for complex
/// numbers), in memory of this process from any of CUDA's functions but those for host memory. The
/// memory must not change while an array made from it may still be computed. Kernels on the same
/// GPU read it in place; for those on another one, and of complex numbers that lie between
/// multiples of their size, what they read is copied first, in runs as long as the strides allow.
/// Such an array is computed by sessions on GPUs alone. \throws InvalidArgument when the memory is
/// not a GPU's, or strides and shape differ in length; DeviceError where there is no GPU to be
/// used.
TESSERA_EXPORT Array from_cuda(const void* data, DType dtype, const Shape& shape,
                               const CudaMemoryOptions& options = {},
                               std::source_location where = std::source_location::current());
/// The same for typed memory.
template <Element T>
Array from_cuda(const T* data, const Shape& shape, const CudaMemoryOptions& options = {},
                std::source_location where = std::source_location::current()) {
  return from_cuda(static_cast<const void*>(data), dtype_of<T>, shape, options, where);
}

}  // namespace tessera
