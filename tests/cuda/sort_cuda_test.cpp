#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "array/block_attributes.hpp"
#include "kernels/specs.hpp"
#include "tests/cuda/block_task_fixture.hpp"

// Sorting and the best of lanes as the host does, bit for bit.

namespace tessera::kernels::cuda {
namespace {

using test::block_spec;
using test::Machine;
using test::Random;
using test::StoredArray;
using test::TaskCase;
using test::TaskRunner;
using test::uniform;

const DType kReal[] = {DType::kBool,  DType::kInt8,   DType::kInt16,  DType::kInt32,   DType::kInt64,  DType::kUInt8,
                       DType::kUInt16, DType::kUInt32, DType::kUInt64, DType::kFloat32, DType::kFloat64};

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

template <typename T>
T drawn(Random& random) {
  if constexpr (std::is_floating_point_v<T>) {
    switch (uniform(random, 0, 9)) {
      case 0: return std::numeric_limits<T>::quiet_NaN();
      case 1: return -std::numeric_limits<T>::quiet_NaN();
      case 2: return T{-0.0};
      case 3: return T{0};
      case 4: return std::numeric_limits<T>::infinity();
      case 5: return -std::numeric_limits<T>::infinity();
      case 6: return -std::numeric_limits<T>::denorm_min();
      default: return static_cast<T>(uniform(random, -4, 4)) * T{0.75};
    }
  } else if constexpr (std::is_same_v<T, bool>) {
    return uniform(random, 0, 1) == 1;
  } else {
    // Equal ones and the ends of the range.
    const std::int64_t choice = uniform(random, 0, 9);
    if (choice == 0) return std::numeric_limits<T>::max();
    if (choice == 1) return std::numeric_limits<T>::min();
    return static_cast<T>(choice < 6 ? uniform(random, 0, 5) : uniform(random, 0, 1 << 30));
  }
}

void draw(StoredArray& array, Random& random) {
  host::visit_dtype(array.dtype, "test", [&]<typename T>(std::type_identity<T>) {
    if constexpr (!host::kIsComplex<T>) {
      for (auto& block : array.blocks) {
        T* values = reinterpret_cast<T*>(block.data());
        for (std::size_t i = 0; i < block.size() / sizeof(T); ++i) values[i] = drawn<T>(random);
      }
    }
  });
}

// Axis `axis` whole, or cut where `cut`.
ChunkGrid random_grid(Random& random, std::size_t& axis, bool cut) {
  const auto rank = at(uniform(random, 1, 3));
  axis = at(uniform(random, 0, static_cast<std::int64_t>(rank) - 1));
  std::vector<AxisChunks> chunks;
  for (std::size_t d = 0; d < rank; ++d) {
    const std::int64_t extent = uniform(random, 0, 20) == 0 ? 0 : uniform(random, 1, d == axis ? 60 : 9);
    chunks.push_back(d == axis && !cut ? AxisChunks::regular(extent, std::max<std::int64_t>(extent, 1))
                                       : test::random_chunks(random, extent, std::max<std::int64_t>(extent, 1)));
  }
  return ChunkGrid(std::move(chunks));
}

TEST(SortCuda, SortsAndNamesPositionsAsTheHostDoes) {
  Machine machine;
  Random random(test::kBlockSeed + 21);
  for (int round = 0; round < 132; ++round) {
    const DType dtype = kReal[at(round) % std::size(kReal)];
    std::size_t axis = 0;
    StoredArray array(random_grid(random, axis, false), dtype);
    draw(array, random);
    auto attributes = std::make_shared<array::SortAttributes>();
    attributes->axis = static_cast<int>(axis);
    attributes->descending = round % 2 == 1;
    attributes->indices = round / 11 % 2 == 1;
    const DType to = attributes->indices ? DType::kInt64 : dtype;
    const BlockSpec spec = block_spec(attributes, array, array.grid, to);
    for (std::int64_t block = 0; block < array.grid.block_count(); ++block) {
      TaskCase task{.spec = spec, .block = block, .coords = array.grid.unlinear(block)};
      task.inputs.push_back({&array, {block}});
      task.outputs.emplace_back(array.grid, to);
      TaskRunner runner(task);
      ASSERT_EQ(runner.on_host(), runner.on_device(machine.system, *machine.registry))
          << dtype << " round " << round << " block " << block;
    }
  }
}

TEST(SortCuda, FindsTheBestOfLanesAsTheHostDoes) {
  Machine machine;
  Random random(test::kBlockSeed + 22);
  for (int round = 0; round < 132; ++round) {
    const DType dtype = kReal[at(round) % std::size(kReal)];
    const bool merge = round / 11 % 2 == 1;
    std::size_t axis = 0;
    StoredArray array(random_grid(random, axis, !merge), dtype);
    StoredArray names(array.grid, DType::kInt64);
    draw(array, random);
    draw(names, random);
    auto attributes = std::make_shared<array::TopkAttributes>();
    attributes->axis = static_cast<int>(axis);
    attributes->k = uniform(random, 1, 12) * (round % 2 == 1 ? -1 : 1);
    attributes->merge = merge;
    std::vector<AxisChunks> chunks = array.grid.axes();
    std::vector<std::int64_t> extents = chunks[axis].extents();
    for (std::int64_t& extent : extents) extent = std::min(extent, std::abs(attributes->k));
    chunks[axis] = AxisChunks::of(extents);
    const ChunkGrid out(chunks);
    BlockSpec spec = block_spec(attributes, array, out, dtype);
    spec.outputs.push_back({out, DType::kInt64, std::nullopt});
    if (merge) spec.inputs.push_back({names.grid, DType::kInt64, std::nullopt});
    for (std::int64_t block = 0; block < out.block_count(); ++block) {
      TaskCase task{.spec = spec, .block = block, .coords = out.unlinear(block)};
      task.inputs.push_back({&array, {block}});
      if (merge) task.inputs.push_back({&names, {block}});
      task.outputs.emplace_back(out, dtype);
      task.outputs.emplace_back(out, DType::kInt64);
      TaskRunner runner(task);
      ASSERT_EQ(runner.on_host(), runner.on_device(machine.system, *machine.registry))
          << dtype << " round " << round << " block " << block;
    }
  }
}

TEST(SortCuda, ComplexNumbersAreSortedOnTheHost) {
  Machine machine;
  Random random(test::kBlockSeed + 23);
  StoredArray array(ChunkGrid({AxisChunks::regular(20, 20)}), DType::kComplex64);
  array.fill_bytes(random);
  const BlockSpec spec = block_spec(std::make_shared<array::SortAttributes>(), array, array.grid, array.dtype);
  TaskCase task{.spec = spec, .block = 0, .coords = {0}};
  task.inputs.push_back({&array, {0}});
  task.outputs.emplace_back(array.grid, array.dtype);
  TaskRunner runner(task);
  EXPECT_EQ(runner.on_host(), runner.on_device(machine.system, *machine.registry));
}

}  // namespace
}  // namespace tessera::kernels::cuda
