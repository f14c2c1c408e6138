#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "array/block_attributes.hpp"
#include "kernels/cuda/copy_cuda.hpp"
#include "kernels/host/copy_host.hpp"
#include "kernels/specs.hpp"
#include "tests/cuda/block_task_fixture.hpp"

namespace tessera::kernels::cuda {
namespace {

using device::cuda::BorrowedQueue;
using device::cuda::CudaQueue;
using device::cuda::CudaSystem;
using test::block_spec;
using test::Index;
using test::Machine;
using test::Random;
using test::StoredArray;
using test::TaskCase;
using test::TaskRunner;
using test::TestBlock;
using test::uniform;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

const DType kStored[] = {DType::kBool,    DType::kInt16,     DType::kFloat16,   DType::kInt32,
                         DType::kFloat64, DType::kComplex64, DType::kComplex128};

// Copies `src`, a view of `from`, to `to` by the device, both as they lie in memory.
void copy_on_device(CudaSystem& system, const RegionCopier& copier, TestBlock& to,
                    const TestBlock& from, ConstBlockView src) {
  const BorrowedQueue queue(system, 0);
  const auto twin = [&](const TestBlock& block) {
    return queue->memory().allocate(block.memory().size());
  };
  const device::Buffer target = twin(to), source = twin(from);
  std::byte* to_memory = const_cast<std::byte*>(to.memory().data());
  queue->copy(target.data(), to_memory, target.size_bytes());
  queue->copy(source.data(), from.memory().data(), source.size_bytes());
  BlockView dst = to.view();
  dst.data = target.data() + (dst.data - to_memory);
  src.data = source.data() + (src.data - from.memory().data());
  copier.copy(*queue, dst, src);
  queue->copy(to_memory, target.data(), target.size_bytes());
  queue->wait();
}

Index random_shape(Random& random, std::int64_t most_rank, double most_elements) {
  Index shape(at(uniform(random, 0, most_rank)));
  double room = most_elements;
  for (std::int64_t& extent : shape) {
    extent = uniform(random, uniform(random, 0, 30) == 0 ? 0 : 1,
                     std::max<std::int64_t>(1, static_cast<std::int64_t>(std::min(room, 70.0))));
    room /= static_cast<double>(std::max<std::int64_t>(extent, 1));
  }
  std::shuffle(shape.begin(), shape.end(), random);
  return shape;
}

void fill_bytes(TestBlock& block, Random& random) {
  test::for_each_index(block.shape(), [&](const Index& index) {
    for (std::size_t i = 0; i < itemsize(block.dtype()); ++i)
      block.at(index)[i] = static_cast<std::byte>(random() & 0xff);
  });
}

TEST(RegionCopierCuda, CopiesAnyLayoutAsTheHostDoes) {
  Machine machine;
  KernelCache cache(machine.system);
  Random random(test::kBlockSeed);
  for (const DType dtype : kStored) {
    const RegionCopier copier(cache, itemsize(dtype));
    for (int round = 0; round < 40; ++round) {
      const Index shape = random_shape(random, round % 10 == 9 ? 12 : 4, 6000);
      TestBlock from =
          round % 5 == 0 ? TestBlock(dtype, shape) : TestBlock(dtype, shape, random, true);
      fill_bytes(from, random);
      TestBlock expected =
          round % 3 == 0 ? TestBlock(dtype, shape) : TestBlock(dtype, shape, random, false);
      TestBlock result = expected;
      host::copy_region(expected.view(), std::as_const(from).view());
      copy_on_device(machine.system, copier, result, from, std::as_const(from).view());
      // Gaps between elements included.
      EXPECT_EQ(expected.memory(), result.memory())
          << dtype << " round " << round << " shape " << to_string(shape);
    }
  }
}

// The layouts that have a path of their own: wide rows, short rows, squares of every size of item,
// many axes.
void check_rows_and_squares(unsigned thread_order) {
  Machine machine(std::size_t{64} << 20, thread_order);
  KernelCache cache(machine.system);
  Random random(test::kBlockSeed + 1);
  for (const DType dtype : kStored) {
    const RegionCopier copier(cache, itemsize(dtype));
    for (const Index& shape : {Index{3, 600}, Index{33, 64}, Index{130, 8}, Index{70, 90},
                               Index{2, 65, 40}, Index{9, 5, 16}}) {
      for (std::size_t turned = 0; turned + 1 < shape.size(); ++turned) {
        Index memory_shape = shape;
        std::swap(memory_shape[turned], memory_shape.back());
        TestBlock memory(dtype, memory_shape);
        fill_bytes(memory, random);
        for (const bool turn : {false, true}) {
          TestBlock expected(dtype, turn ? shape : memory_shape);
          TestBlock result = expected;
          ConstBlockView view = std::as_const(memory).view();
          Index strides(view.strides.begin(), view.strides.end());
          if (turn) std::swap(strides[turned], strides.back());
          view.shape = expected.shape();
          view.strides = strides;
          host::copy_region(expected.view(), view);
          copy_on_device(machine.system, copier, result, memory, view);
          EXPECT_EQ(expected.memory(), result.memory())
              << dtype << " shape " << to_string(shape) << " axis " << turned;
        }
      }
    }
  }
}

TEST(RegionCopierCuda, CopiesRowsAndSquaresOfEveryWidth) {
  for (const unsigned thread_order : {0u, 1u, 77u}) check_rows_and_squares(thread_order);
}

// A kernel numbers its rows by 8 axes; there may be more of them.
TEST(RegionCopierCuda, CopiesMoreAxesThanAKernelHas) {
  Machine machine;
  KernelCache cache(machine.system);
  Random random(test::kBlockSeed + 10);
  const Index shape(11, 2);
  TestBlock from(DType::kInt32, shape);
  fill_bytes(from, random);
  ConstBlockView view = std::as_const(from).view();
  const Index reversed(view.strides.rbegin(), view.strides.rend());
  view.strides = reversed;
  TestBlock expected(DType::kInt32, shape);
  TestBlock result = expected;
  host::copy_region(expected.view(), view);
  copy_on_device(machine.system, RegionCopier(cache, 4), result, from, view);
  EXPECT_EQ(expected.memory(), result.memory());
}

TEST(RegionCopierCuda, FillsAnyLayoutAsTheHostDoes) {
  Machine machine;
  KernelCache cache(machine.system);
  Random random(test::kBlockSeed + 2);
  for (const DType dtype : kStored) {
    const RegionCopier copier(cache, itemsize(dtype));
    for (int round = 0; round < 20; ++round) {
      const Index shape = random_shape(random, 4, 4000);
      TestBlock expected =
          round % 2 == 0 ? TestBlock(dtype, shape) : TestBlock(dtype, shape, random, false);
      TestBlock result = expected;
      const Scalar value = round % 4 < 2 ? Scalar(0) : Scalar(-1.75);
      host::fill_region(expected.view(), value);
      const BorrowedQueue queue(machine.system, 0);
      std::byte* memory = const_cast<std::byte*>(result.memory().data());
      const device::Buffer target = queue->memory().allocate(result.memory().size());
      queue->copy(target.data(), memory, target.size_bytes());
      BlockView dst = result.view();
      dst.data = target.data() + (dst.data - memory);
      copier.fill(*queue, dst, value);
      queue->copy(memory, target.data(), target.size_bytes());
      queue->wait();
      EXPECT_EQ(expected.memory(), result.memory())
          << dtype << " round " << round << " shape " << to_string(shape);
    }
  }
}

ChunkGrid random_grid(Random& random, const Shape& shape) {
  std::vector<AxisChunks> axes;
  for (const std::int64_t extent : shape)
    axes.push_back(test::random_chunks(random, extent, std::max<std::int64_t>(1, extent)));
  return ChunkGrid(std::move(axes));
}

// The blocks that hold something of what is read, wherever it is read from.
std::vector<std::int64_t> blocks_read(const ArrayRead& from) {
  std::vector<std::int64_t> out;
  for (std::int64_t block = 0; block < from.grid.block_count(); ++block) {
    const BlockIndex index = from.grid.unlinear(block);
    bool read = true;
    for (std::size_t d = 0; d < index.size(); ++d)
      read =
          read && (from.read[d].axis >= 0 ||
                   from.grid.axis(static_cast<int>(d)).chunk_of(from.read[d].offset) == index[d]);
    if (read) out.push_back(block);
  }
  return out;
}

// A part that fills [lo, hi) of an output through any read that stays inside an array made for it.
StoredArray random_part(Random& random, DType dtype, const Shape& lo, const Shape& hi,
                        AssembleSpec::Part& part) {
  part.lo = lo;
  part.hi = hi;
  std::vector<int> axes(lo.size());
  std::iota(axes.begin(), axes.end(), 0);
  std::shuffle(axes.begin(), axes.end(), random);
  Shape stored;
  for (const int axis : axes) {
    if (uniform(random, 0, 5) == 0) continue;  // broadcast over
    if (uniform(random, 0, 5) == 0) {
      part.from.read.push_back({-1, 1, 1});
      stored.push_back(3);
    }
    const std::int64_t step = uniform(random, 0, 1) == 0   ? 1
                              : uniform(random, 0, 1) == 0 ? -1
                                                           : uniform(random, 2, 3);
    const std::int64_t span = std::abs(step) * (hi[at(axis)] - lo[at(axis)] - 1);
    const std::int64_t first = uniform(random, 0, 2) + (step < 0 ? span : 0);
    part.from.read.push_back({axis, first - step * lo[at(axis)], step});
    stored.push_back(span + 1 + uniform(random, 2, 3));
  }
  part.from.grid = random_grid(random, stored);
  part.from.dtype = dtype;
  StoredArray array(part.from.grid, dtype);
  array.fill_bytes(random);
  return array;
}

TEST(BlockKernelsCuda, AssembleAsTheHostDoes) {
  Machine machine;
  Random random(test::kBlockSeed + 3);
  for (int round = 0; round < 60; ++round) {
    AssembleSpec spec;
    spec.dtype = kStored[at(round) % std::size(kStored)];
    Shape shape(at(uniform(random, 1, 3)));
    for (std::int64_t& extent : shape) extent = uniform(random, 1, 24);
    spec.grid = random_grid(random, shape);
    if (round % 3 != 0) spec.fill = Scalar(round % 2 == 0 ? 0.0 : 2.5);
    // Parts lie one after the other along the first axis; where nothing is filled in, they leave no
    // gaps.
    std::vector<StoredArray> arrays;
    for (std::int64_t begin = 0; begin < shape[0];) {
      Shape lo(shape.size(), 0), hi = shape;
      if (spec.fill) begin += uniform(random, 0, 2);
      lo[0] = begin;
      hi[0] = std::min(shape[0], begin + uniform(random, 1, shape[0]));
      begin = hi[0];
      if (spec.fill && shape.size() > 1 && hi[1] > 2) lo[1] = uniform(random, 0, 1);
      if (lo[0] >= hi[0]) break;
      spec.parts.emplace_back();
      arrays.push_back(random_part(random, spec.dtype, lo, hi, spec.parts.back()));
    }
    for (std::int64_t block = 0; block < spec.grid.block_count(); ++block) {
      TaskCase task{.spec = spec, .block = block, .coords = spec.grid.unlinear(block)};
      for (std::size_t k = 0; k < arrays.size(); ++k)
        task.inputs.push_back({&arrays[k], blocks_read(spec.parts[k].from)});
      task.outputs.emplace_back(spec.grid, spec.dtype);
      TaskRunner runner(task);
      EXPECT_EQ(runner.on_host(), runner.on_device(machine.system, *machine.registry))
          << spec.dtype << " round " << round << " block " << block << " of " << spec.grid;
    }
  }
}

void check_delivery(Machine& machine, const DeliverSpec& spec, const StoredArray& array) {
  const std::size_t bytes = at(element_count(spec.grid.shape())) * itemsize(array.dtype);
  const auto fresh = [&] {
    const std::shared_ptr<std::byte[]> memory(new std::byte[bytes + 1]());
    return std::shared_ptr<std::byte>(memory, memory.get());
  };
  std::vector<std::shared_ptr<std::byte>> results;
  for (const bool on_device : {false, true}) {
    DeliverSpec here = spec;
    here.memory = fresh();
    results.push_back(here.memory);
    for (std::int64_t block = 0; block < spec.grid.block_count(); ++block) {
      TaskCase task{.spec = here, .block = block, .coords = spec.grid.unlinear(block)};
      task.inputs.push_back({&array, {block_at(spec.from, task_box(spec.grid, task.coords))}});
      TaskRunner runner(task);
      on_device ? runner.on_device(machine.system, *machine.registry) : runner.on_host();
    }
  }
  EXPECT_EQ(std::memcmp(results[0].get(), results[1].get(), bytes), 0)
      << array.dtype << " " << spec.grid;
}

TEST(BlockKernelsCuda, DeliverAsTheHostDoes) {
  Machine machine;
  Random random(test::kBlockSeed + 4);
  for (int round = 0; round < 30; ++round) {
    Shape shape(at(uniform(random, 0, 3)));
    for (std::int64_t& extent : shape) extent = uniform(random, 1, 20);
    StoredArray array(random_grid(random, shape), kStored[at(round) % std::size(kStored)]);
    array.fill_bytes(random);
    DeliverSpec spec;
    std::vector<int> axes(shape.size());
    std::iota(axes.begin(), axes.end(), 0);
    if (round % 2 == 1) std::shuffle(axes.begin(), axes.end(), random);
    std::vector<AxisChunks> chunks(shape.size());
    for (std::size_t d = 0; d < shape.size(); ++d) {
      spec.from.read.push_back({axes[d], 0, 1});
      chunks[at(axes[d])] = array.grid.axis(static_cast<int>(d));
    }
    spec.from.grid = array.grid;
    spec.from.dtype = array.dtype;
    spec.grid = ChunkGrid(chunks);
    check_delivery(machine, spec, array);
  }
}

TEST(BlockKernelsCuda, DeliverLargeBlocksInParts) {
  for (const std::size_t staging :
       {std::size_t{64} << 20, std::size_t{1} << 20}) {  // enough, and none
    Machine machine(staging);
    Random random(test::kBlockSeed + 5);
    StoredArray array(ChunkGrid({AxisChunks::regular(1500, 1500), AxisChunks::regular(3500, 2000)}),
                      DType::kFloat64);
    array.fill_bytes(random);
    DeliverSpec spec;
    spec.from = {{{0, 0, 1}, {1, 0, 1}}, array.grid, array.dtype};
    spec.grid = array.grid;
    check_delivery(machine, spec, array);
  }
}

TEST(BlockKernelsCuda, TakeAsTheHostDoes) {
  Machine machine;
  Random random(test::kBlockSeed + 6);
  for (int round = 0; round < 30; ++round) {
    const DType dtype = kStored[at(round) % std::size(kStored)];
    Shape shape(at(uniform(random, 1, 3)));
    for (std::int64_t& extent : shape) extent = uniform(random, 1, 20);
    auto attributes = std::make_shared<array::TakeAttributes>();
    attributes->axis =
        static_cast<int>(uniform(random, 0, static_cast<std::int64_t>(shape.size()) - 1));
    const std::size_t axis = at(attributes->axis);
    std::vector<AxisChunks> chunks;
    for (const std::int64_t extent : shape)
      chunks.push_back(test::random_chunks(random, extent, extent));
    StoredArray array(ChunkGrid(chunks), dtype);
    array.fill_bytes(random);
    const std::int64_t count = uniform(random, 0, 40);
    for (std::int64_t i = 0; i < count; ++i)
      attributes->positions.push_back(uniform(random, 0, shape[axis] - 1));
    chunks[axis] = test::random_chunks(random, count, std::max<std::int64_t>(count, 1));
    const ChunkGrid out(chunks);
    const BlockSpec spec = block_spec(attributes, array, out, dtype);
    for (std::int64_t block = 0; block < out.block_count(); ++block) {
      TaskCase task{.spec = spec, .block = block, .coords = out.unlinear(block)};
      std::vector<std::int64_t> blocks;
      BlockIndex index = task.coords;
      for (index[axis] = 0; index[axis] < array.grid.axis(attributes->axis).count(); ++index[axis])
        blocks.push_back(array.grid.linear(index));
      task.inputs.push_back({&array, blocks});
      task.outputs.emplace_back(out, dtype);
      TaskRunner runner(task);
      EXPECT_EQ(runner.on_host(), runner.on_device(machine.system, *machine.registry))
          << dtype << " round " << round << " block " << block;
    }
  }
}

// Edges that elements lie on, bins without width, more bins than a block of threads counts by
// itself.
TEST(BlockKernelsCuda, HistogramAsTheHostDoes) {
  Machine machine(std::size_t{64} << 20, 77);
  Random random(test::kBlockSeed + 11);
  for (const DType dtype : {DType::kBool, DType::kInt8, DType::kUInt16, DType::kInt32,
                            DType::kUInt64, DType::kFloat32, DType::kFloat64}) {
    for (const std::int64_t bins : {1, 7, 300, 5000}) {
      auto attributes = std::make_shared<array::HistogramAttributes>();
      for (std::int64_t i = 0; i <= bins; ++i) {
        const double even = -6.0 + 12.0 * static_cast<double>(i) / static_cast<double>(bins);
        attributes->edges.push_back(bins == 7 ? std::round(even * even * even / 30.0) : even);
      }
      StoredArray array(random_grid(random, {uniform(random, 1, 60), 90}), dtype);
      array.fill_small(random);
      if (dtype == DType::kFloat64) {
        array.fill_normal<double>(random);
        auto* first = reinterpret_cast<double*>(array.blocks[0].data());
        first[0] = std::numeric_limits<double>::quiet_NaN();
        first[1] = attributes->edges.back();
        first[2] = std::numeric_limits<double>::infinity();
      }
      const BlockIndex counts = array.grid.counts();
      const ChunkGrid out({AxisChunks::regular(counts[0], 1), AxisChunks::regular(counts[1], 1),
                           AxisChunks::regular(bins, bins)});
      const BlockSpec spec = block_spec(attributes, array, out, DType::kInt64);
      for (std::int64_t block = 0; block < out.block_count(); ++block) {
        TaskCase task{.spec = spec, .block = block, .coords = out.unlinear(block)};
        task.inputs.push_back({&array, {block}});
        task.outputs.emplace_back(out, DType::kInt64);
        TaskRunner runner(task);
        EXPECT_EQ(runner.on_host(), runner.on_device(machine.system, *machine.registry))
            << dtype << " " << bins << " bins, block " << block;
      }
    }
  }
  EXPECT_GT(machine.simulated.launches("count_bins"), 0);
}

TEST(BlockKernelsCuda, ReshapeCopiesTheBlock) {
  Machine machine;
  Random random(test::kBlockSeed + 7);
  StoredArray array(ChunkGrid({AxisChunks::regular(7, 4), AxisChunks::regular(6, 6)}),
                    DType::kInt16);
  array.fill_bytes(random);
  const ChunkGrid out({AxisChunks::of({24, 18})});
  const BlockSpec spec =
      block_spec(std::make_shared<array::ReshapeAttributes>(), array, out, DType::kInt16);
  for (const std::int64_t block : {0, 1}) {
    TaskCase task{.spec = spec, .block = block, .coords = {block}, .inputs = {{&array, {block}}}};
    task.outputs.emplace_back(out, DType::kInt16);
    TaskRunner runner(task);
    EXPECT_EQ(runner.on_host(), runner.on_device(machine.system, *machine.registry));
  }
}

TEST(BlockKernelsCuda, AwaitedIsTrue) {
  Machine machine;
  const AwaitedSpec spec;
  TaskCase task{.spec = spec};
  task.outputs.emplace_back(ChunkGrid::whole({}), DType::kBool);
  EXPECT_EQ(TaskRunner(task).on_device(machine.system, *machine.registry)[0].data()[0],
            std::byte{1});
}

}  // namespace
}  // namespace tessera::kernels::cuda
