#include "tessera/cuda.hpp"

#include <cstdint>
#include <utility>

#include "array/existing_memory.hpp"
#include "array/refuse.hpp"
#include "core/text.hpp"
#include "scheduler/seams.hpp"
#include "tessera/error.hpp"

namespace tessera {

Array from_cuda(const void* data, DType dtype, const Shape& shape, const CudaMemoryOptions& options,
                std::source_location where) {
  MemoryOptions memory{options.chunks, options.strides, options.owner};
  const bool holds_elements = element_count(shape) != 0;
  if (data == nullptr || !holds_elements)
    return array::existing_memory("from_cuda", data, dtype, shape, memory, nullptr, where);
  const std::size_t alignment = is_complex(dtype) ? itemsize(dtype) / 2 : itemsize(dtype);
  if (reinterpret_cast<std::uintptr_t>(data) % alignment != 0) {
    array::refuse("from_cuda", "elements must lie at multiples of their size; got an array of ",
                  dtype, " at an address that is none");
  }
  std::string problem = "no GPU";
  const TesseraCudaApi* api = scheduler::Seams::current().cuda;
  if (api == nullptr) api = device::find_cuda(problem);
  if (api == nullptr)
    throw DeviceError(core::text("[from_cuda] memory of a GPU needs a GPU; got ", problem));
  const std::optional<int> device = device::cuda_memory_device(*api, data);
  if (!device) {
    array::refuse("from_cuda", "the memory must be a GPU's; got the host's for shape ",
                  to_string(shape), " of ", dtype, "; try from_memory()");
  }
  auto cuda = std::make_shared<array::CudaMemory>();
  cuda->device = *device;
  if (options.stream) cuda->ready = device::cuda_event_behind(*api, *device, *options.stream);
  return array::existing_memory("from_cuda", data, dtype, shape, memory, std::move(cuda), where);
}

}  // namespace tessera
