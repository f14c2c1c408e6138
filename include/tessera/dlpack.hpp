#pragma once

#include <source_location>

#include "tessera/array.hpp"
#include "tessera/chunk_grid.hpp"
#include "tessera/export.hpp"
#include "tessera/session.hpp"

/// Of DLPack, the exchange format of array libraries: the struct of <dlpack/dlpack.h>, versions 0.2
/// to 0.8.
struct DLManagedTensor;

namespace tessera {

struct DlpackOptions {
  Chunks chunks = {};
  /// Of a GPU's memory: the stream on which the tensor is written; null: the default stream.
  void* stream = nullptr;
};

/// An array that reads a tensor's memory without copying it when it is made, and takes the tensor
/// over: its deleter is called when no array reads it any more. The memory must not change
/// meanwhile. bool (code 6), integers of 8 to 64 bits, floats of 16 to 64 bits, complex64 and
/// complex128 in host memory, pinned or not, or a GPU's (as from_cuda() says), with any strides.
/// \throws InvalidArgument for other tensors, which stay the caller's, and where Tessera was built
/// without DLPack's header; DeviceError as from_cuda().
TESSERA_EXPORT Array from_dlpack(DLManagedTensor* tensor, const DlpackOptions& options = {},
                                 std::source_location where = std::source_location::current());

/// A tensor of a computed result, which shares its memory, in C order. Whoever gets it calls its
/// deleter. \throws InvalidArgument where Tessera was built without DLPack's header.
TESSERA_EXPORT DLManagedTensor* to_dlpack(const HostArray& values);
/// The same of a block, on the device where it lies. A GPU's deleter waits for all work on the GPU:
/// whoever drops a tensor has often more of it on a stream. Other GPUs reach the memory by copies
/// alone (cudaMemcpyPeer).
TESSERA_EXPORT DLManagedTensor* to_dlpack(const DeviceBlock& block);

}  // namespace tessera
