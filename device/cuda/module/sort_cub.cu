// Sorting by CUB, the one part of the module that is compiled for devices ahead of time.

#include <cub/device/device_radix_sort.cuh>

#include <cstdint>

#include "device/cuda/module/module_parts.hpp"

namespace tessera::device::cuda::vendor {
namespace {

template <typename Key>
int sort(void* const keys[2], void* const values[2], int64_t count, int bits, void* work,
         size_t* work_bytes, int* which, cudaStream_t stream) {
  cub::DoubleBuffer<Key> key_buffers(static_cast<Key*>(keys[0]), static_cast<Key*>(keys[1]));
  cub::DoubleBuffer<uint32_t> value_buffers(static_cast<uint32_t*>(values[0]),
                                            static_cast<uint32_t*>(values[1]));
  const cudaError_t status = cub::DeviceRadixSort::SortPairs(
      work, *work_bytes, key_buffers, value_buffers, count, 0, bits, stream);
  if (which != nullptr) *which = value_buffers.selector;
  return status;
}

int sort_any(int key_bytes, void* const keys[2], void* const values[2], int64_t count, int bits,
             void* work, size_t* work_bytes, int* which, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  return key_bytes == 4
             ? sort<uint32_t>(keys, values, count, bits, work, work_bytes, which, on)
             : sort<uint64_t>(keys, values, count, bits, work, work_bytes, which, on);
}

int sort_pairs_bytes(int key_bytes, int64_t count, int bits, size_t* bytes) {
  void* const none[2] = {nullptr, nullptr};
  return sort_any(key_bytes, none, none, count, bits, nullptr, bytes, nullptr, nullptr);
}

int sort_pairs(int key_bytes, void* const keys[2], void* const values[2], int64_t count, int bits,
               void* work, size_t work_bytes, int* which, void* stream) {
  return sort_any(key_bytes, keys, values, count, bits, work, &work_bytes, which, stream);
}

}  // namespace

void add_cub(TesseraCudaApi& api) {
  api.sort_pairs_bytes = sort_pairs_bytes;
  api.sort_pairs = sort_pairs;
}

}  // namespace tessera::device::cuda::vendor
