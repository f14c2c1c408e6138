#include "kernels/cuda/staged.hpp"

#include <gtest/gtest.h>

#include "array/block_attributes.hpp"
#include "core/region_reader.hpp"
#include "tessera/error.hpp"
#include "tests/cuda/block_task_fixture.hpp"

// Tasks of a CUDA device that run the host's kernels between copies.

namespace tessera::kernels::cuda {
namespace {

using test::block_spec;
using test::Machine;
using test::Random;
using test::StoredArray;
using test::TaskCase;
using test::TaskRunner;
// -------------------------------------------------------------------------------------------------

struct CountingReader final : core::RegionReader {
  void read(const std::vector<std::int64_t>& start, const std::vector<std::int64_t>& count,
            std::byte* out) const override {
    float* to = reinterpret_cast<float*>(out);
    for (std::int64_t i = 0; i < element_count(count); ++i)
      to[i] = static_cast<float>(start[0] * 1000 + i);
  }
  std::string describe() const override { return "counting"; }
};

TEST(StagedCuda, ReadsIntoBlocks) {
  for (const std::size_t staging :
       {std::size_t{1} << 20, std::size_t{64}}) {  // pinned memory, and plain
    Machine machine(staging);
    ReadSpec spec;
    spec.reader = std::make_shared<CountingReader>();
    spec.grid = ChunkGrid({AxisChunks::regular(10, 4), AxisChunks::regular(5, 5)});
    for (std::int64_t block = 0; block < 3; ++block) {
      TaskCase task{.spec = spec, .block = block, .coords = {block, 0}};
      task.outputs.emplace_back(spec.grid, DType::kFloat32);
      TaskRunner runner(task);
      EXPECT_TRUE(machine.registry->prepare(spec)->occupies_thread());
      EXPECT_EQ(runner.on_host(), runner.on_device(machine.system, *machine.registry));
    }
  }
}

TEST(StagedCuda, CallsFunctionsWithBlocksOfTheHost) {
  Machine machine;
  Random random(test::kBlockSeed + 8);
  StoredArray array(ChunkGrid({AxisChunks::regular(9, 4)}), DType::kInt32);
  array.fill_small(random);
  auto attributes = std::make_shared<array::MapBlocksAttributes>();
  attributes->function = [](std::span<const InputBlock> in, const OutputBlock& out) {
    // One block for both inputs is one copy.
    EXPECT_EQ(in[0].data, in[1].data);
    for (std::int64_t i = 0; i < out.size(); ++i)
      out.as<std::int32_t>()[i] =
          in[0].as<std::int32_t>()[i] * 3 + static_cast<std::int32_t>(out.start[0]);
  };
  BlockSpec spec = block_spec(attributes, array, array.grid, DType::kInt32);
  spec.inputs.push_back(spec.inputs[0]);
  for (std::int64_t block = 0; block < 3; ++block) {
    TaskCase task{.spec = spec,
                  .block = block,
                  .coords = {block},
                  .inputs = {{&array, {block}}, {&array, {block}}}};
    task.outputs.emplace_back(array.grid, DType::kInt32);
    TaskRunner runner(task);
    EXPECT_EQ(runner.on_host(), runner.on_device(machine.system, *machine.registry));
  }
}

TEST(StagedCuda, ErrorsOfFunctionsLeaveNothingBehind) {
  Machine machine;
  StoredArray array(ChunkGrid({AxisChunks::regular(9, 9)}), DType::kInt32);
  auto attributes = std::make_shared<array::MapBlocksAttributes>();
  attributes->function = [](std::span<const InputBlock>, const OutputBlock&) {
    throw LibraryError("[test] no");
  };
  const BlockSpec spec = block_spec(attributes, array, array.grid, DType::kInt32);
  TaskCase task{.spec = spec, .coords = {0}, .inputs = {{&array, {0}}}};
  task.outputs.emplace_back(array.grid, DType::kInt32);
  EXPECT_EQ(test::thrown_text<LibraryError>(
                [&] { TaskRunner(task).on_device(machine.system, *machine.registry); }),
            "[test] no");
  EXPECT_EQ(machine.system.staging().bytes_in_use(), 0u);
  EXPECT_EQ(machine.system.devices()[0].pool->bytes_in_use(), 0u);
}

/// The host's kernels, between copies.
struct StagedRegistry final : Registry {
  std::unique_ptr<TaskKernel> prepare(const TaskSpec& spec) const override {
    return make_staged(host_registry(), spec);
  }
  std::size_t scratch_bytes(const TaskSpec&) const override { return 0; }
};

TEST(StagedCuda, ChainsGoOnFromTheirOutput) {
  Machine machine;
  Random random(test::kBlockSeed + 9);
  const ChunkGrid grid({AxisChunks::regular(5, 5), AxisChunks::regular(12, 7)});
  StoredArray array(grid, DType::kInt32);
  array.fill_small(random);
  ScanSpec spec;
  spec.axis = 1;
  spec.from = {{{0, 0, 1}, {1, 0, 1}}, grid, DType::kInt32};
  spec.grid = grid;
  spec.dtype = DType::kInt64;
  spec.carry = DType::kInt64;
  TaskCase task{.spec = spec, .block = 1, .coords = {0, 1}, .inputs = {{&array, {1}}}};
  task.outputs.emplace_back(grid, DType::kInt64);
  task.outputs.emplace_back(ChunkGrid({AxisChunks::regular(5, 5), AxisChunks::regular(2, 1)}),
                            DType::kInt64);
  task.chained = true;
  for (const BlockSize& size : task.outputs) {
    task.before.emplace_back(size.bytes(1));
    for (std::size_t i = 0; i < task.before.back().size(); ++i)
      task.before.back().data()[i] = static_cast<std::byte>(i % 7);
  }
  TaskRunner runner(task);
  EXPECT_EQ(runner.on_host(), runner.on_device(machine.system, StagedRegistry()));
}

}  // namespace
}  // namespace tessera::kernels::cuda
