#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <vector>

#include "device/cuda/cuda_system.hpp"
#include "kernels/cuda/program_map.hpp"
#include "tests/cuda/simulated_cuda.hpp"
#include "tests/kernels/program_fixture.hpp"

// Programs run by the host and by a simulated CUDA device on the same operands.

namespace tessera::kernels::test {

/// Device memory that holds what a TestArray's memory does, as its elements lie.
class DeviceArray {
 public:
  DeviceArray(device::cuda::CudaQueue& queue, const TestArray& array)
      : queue_(queue), array_(array) {
    const auto item = static_cast<std::int64_t>(itemsize(array.dtype()));
    const std::span<const std::int64_t> strides = array.operand().strides;
    std::int64_t low = 0;
    std::int64_t high = 0;
    for (std::size_t d = 0; d < strides.size(); ++d) {
      const std::int64_t reach = strides[d] * std::max<std::int64_t>(array.shape()[d] - 1, 0);
      (reach < 0 ? low : high) += reach;
    }
    if (array.count() == 0) return;
    host_ = array.operand().data + low * item;
    bytes_ = static_cast<std::size_t>((high - low + 1) * item);
    // Elements begin where they do on the host, as far as vectors can tell.
    const std::size_t lead = reinterpret_cast<std::uintptr_t>(host_) % 64;
    memory_ = queue.memory().allocate(bytes_ + lead);
    first_ = memory_.data() + lead - low * item;
    queue.copy(first_ + low * item, host_, bytes_);
    low_ = low * item;
  }

  cuda::SourceOperand operand() const { return {first_, array_.operand().strides}; }
  /// Copies the memory to the array's.
  void download() const {
    if (bytes_ > 0) queue_.copy(host_, first_ + low_, bytes_);
  }

 private:
  device::cuda::CudaQueue& queue_;
  const TestArray& array_;
  device::Buffer memory_;
  std::byte* host_ = nullptr;
  std::byte* first_ = nullptr;
  std::int64_t low_ = 0;
  std::size_t bytes_ = 0;
};

/// A simulated device of few processors, so that blocks of threads have several stretches to go
/// over, and kernels that are compiled once for all tests of a process.
struct ProgramMachine {
  ProgramMachine()
      : system(simulated.api(), {{0}, std::size_t{256} << 20, std::size_t{64} << 20}),
        cache(system) {}
  testing::SimulatedCuda simulated{{.devices = 1}};
  device::cuda::CudaSystem system;
  cuda::KernelCache cache;
};

/// Runs a program without reductions on the device, into the memory of `input.stores`.
inline void run_on_device(ProgramMachine& machine, const cuda::ProgramMapper& mapper,
                          const RunInput& input) {
  const device::cuda::BorrowedQueue queue(machine.system, 0);
  std::vector<std::unique_ptr<DeviceArray>> arrays;
  std::vector<cuda::SourceOperand> loads, stores;
  std::vector<cuda::SourceIndex> indices;
  const auto add = [&](const TestArray* array) {
    arrays.push_back(std::make_unique<DeviceArray>(*queue, *array));
    return arrays.back()->operand();
  };
  for (const TestArray* array : input.loads) loads.push_back(add(array));
  for (const TestArray* array : input.stores) stores.push_back(add(array));
  for (const host::AffineIndex& index : input.indices)
    indices.push_back({index.base, index.strides});
  const cuda::SourceArgs args{input.shape, loads, indices, stores};
  mapper.expect(args);
  mapper.run(*queue, args);
  for (std::size_t s = 0; s < stores.size(); ++s) arrays[loads.size() + s]->download();
  queue->wait();
}

/// Runs a program on the host and on the device into arrays of the same layouts, and compares all
/// bytes.
inline void expect_same_bytes(ProgramMachine& machine, const Program& program, RunInput input,
                              const std::vector<TestArray>& stores, Rng& rng) {
  std::vector<TestArray> others;
  others.reserve(stores.size());
  for (const TestArray& store : stores)
    others.emplace_back(store.dtype(), store.shape(), TestArray::Layout::kDense, rng);
  for (const TestArray& store : stores) input.stores.push_back(&store);
  run(host::PreparedProgram(program), input);
  input.stores.clear();
  for (const TestArray& other : others) input.stores.push_back(&other);
  run_on_device(machine, cuda::ProgramMapper(machine.cache, program), input);
  for (std::size_t s = 0; s < stores.size(); ++s) {
    const std::size_t item = itemsize(stores[s].dtype());
    for (std::int64_t i = 0; i < stores[s].count(); ++i) {
      ASSERT_EQ(std::memcmp(stores[s].address(i), others[s].address(i), item), 0)
          << "element " << i << " of store " << s << "\n"
          << program.to_string();
    }
  }
}

}  // namespace tessera::kernels::test
