#pragma once

#include <memory>
#include <source_location>

#include "array/attributes.hpp"
#include "tessera/array.hpp"
#include "tessera/creation.hpp"

namespace tessera::array {

/// What from_memory() makes, of the host's memory or (`cuda` not null) a GPU's; `name` is the calling function's.
Array existing_memory(const char* name, const void* data, DType dtype, const Shape& shape, const MemoryOptions& options,
                      std::shared_ptr<const CudaMemory> cuda, const std::source_location& where);

}  // namespace tessera::array
