#include <gtest/gtest.h>

#include "tests/cuda/block_task_fixture.hpp"
#include "tests/kernels/program_fixture.hpp"

// Tasks of fused programs: operands in one block or several, turned, thinned out, mirrored,
// repeated or in host memory, with stores and reductions; all give what the host's kernel gives.

namespace tessera::kernels::cuda {
namespace {

using core::ReduceOp;
using core::ScalarOp;
using test::AlignedBytes;
using test::chance;
using test::Machine;
using test::ProgramBuilder;
using test::Random;
using test::StoredArray;
using test::TaskCase;
using test::TaskRunner;
using test::uniform;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

/// A description, what its tasks read, and what they write.
struct TaskSetup {
  ProgramSpec spec;
  std::vector<std::unique_ptr<StoredArray>> arrays;  ///< by input
  std::vector<BlockSize> outputs;
};

// An axis of a stored array that is read along a task's axis: equal chunks, others, a slice, every
// other element, or backward.
struct StoredAxis {
  AxisChunks chunks;
  array::AxisRead read;
};
StoredAxis stored_axis(Random& random, const AxisChunks& task, int axis, bool plain) {
  const std::int64_t extent = task.extent();
  if (plain || chance(random, 0.4)) return {task, {axis, 0, 1}};
  const std::int64_t step = extent > 0 ? uniform(random, 1, 2) * (chance(random, 0.3) ? -1 : 1) : 1;
  const std::int64_t spare = uniform(random, 0, 5);
  const std::int64_t reach = std::max<std::int64_t>(extent - 1, 0) * std::abs(step);
  const std::int64_t most = std::max<std::int64_t>((reach + 1) / 2, 3);
  return {test::random_chunks(random, reach + 1 + spare, most),
          {axis, step > 0 ? uniform(random, 0, spare) : reach + uniform(random, 0, spare), step}};
}

ArrayRead random_read(Random& random, const ChunkGrid& tasks, DType dtype) {
  ArrayRead from;
  from.dtype = dtype;
  std::vector<StoredAxis> axes;
  const bool plain = chance(random, 0.4);
  for (int a = 0; a < tasks.rank(); ++a) {
    if (plain || chance(random, 0.85)) axes.push_back(stored_axis(random, tasks.axis(a), a, plain));
  }
  if (chance(random, 0.4)) std::shuffle(axes.begin(), axes.end(), random);
  if (chance(random, 0.15)) {
    const std::int64_t extent = uniform(random, 1, 4);
    axes.push_back(
        {test::random_chunks(random, extent, 2), {-1, uniform(random, 0, extent - 1), 1}});
  }
  std::vector<AxisChunks> chunks;
  for (const StoredAxis& axis : axes) {
    chunks.push_back(axis.chunks);
    from.read.push_back(axis.read);
  }
  from.grid = ChunkGrid(std::move(chunks));
  return from;
}

// The blocks that a task reads of an array, in C order.
std::vector<std::int64_t> blocks_read(const ArrayRead& from, const TaskBox& box) {
  if (box.elements() == 0) return {};
  std::vector<std::int64_t> out;
  for (std::int64_t block = 0; block < from.grid.block_count(); ++block) {
    const BlockIndex coords = from.grid.unlinear(block);
    const TaskBox part = part_in_block(from, gathered_box(from, box), block);
    bool reads = true;
    for (int d = 0; d < from.grid.rank(); ++d) {
      const array::AxisRead& read = from.read[at(d)];
      if (read.axis < 0) reads = reads && from.grid.axis(d).chunk_of(read.offset) == coords[at(d)];
    }
    for (int a = 0; a < part.rank; ++a) reads = reads && part.extent[at(a)] > 0;
    if (reads) out.push_back(block);
  }
  return out;
}

/// Puts the elements of a stored array into host memory with strides of its own.
void move_to_host(Random& random, ProgramSpec::Load& load) {
  const Shape shape = load.from.grid.shape();
  load.input = -1;
  load.from.grid = ChunkGrid::whole(shape);
  load.memory_strides.resize(shape.size());
  std::int64_t stride = uniform(random, 1, 2);
  for (std::size_t d = shape.size(); d-- > 0;) {
    load.memory_strides[d] = stride;
    stride *= std::max<std::int64_t>(shape[d], 1) + uniform(random, 0, 1);
  }
  const std::size_t bytes = at(stride) * itemsize(load.from.dtype);
  auto memory = std::make_shared<AlignedBytes>(bytes);
  StoredArray values(ChunkGrid::whole({stride}), load.from.dtype);
  values.fill_small(random);
  std::memcpy(memory->data(), values.blocks[0].data(), bytes);
  load.memory = std::shared_ptr<const std::byte>(memory, memory->data());
}

ChunkGrid random_tasks(Random& random, int rank, std::int64_t most) {
  std::vector<AxisChunks> axes;
  for (int a = 0; a < rank; ++a) {
    const std::int64_t extent = chance(random, 0.04) ? 0 : uniform(random, 1, most);
    axes.push_back(test::random_chunks(random, extent, std::max<std::int64_t>(extent * 2 / 3, 2)));
  }
  return ChunkGrid(std::move(axes));
}

// The sum of one or two loads and of an index. There are few programs, for every kernel is built by
// a compiler.
constexpr DType kLoaded[] = {float32, float64, uint8};

TaskSetup random_setup(Random& random, bool reduces) {
  TaskSetup out;
  const int rank = static_cast<int>(uniform(random, 0, 3));
  out.spec.grid = random_tasks(random, rank, rank == 1 ? 300 : 40);
  ProgramBuilder b(rank);
  int sum = b.cast(b.index(), float64);
  ProgramSpec::Index index{uniform(random, 0, 9), {}};
  for (int a = 0; a < rank; ++a) index.strides.push_back(uniform(random, -2, 3));
  out.spec.indices.push_back(index);
  const std::int64_t first = uniform(random, 0, 2);
  for (std::int64_t k = first; k <= std::max<std::int64_t>(first, 1); ++k) {
    const DType dtype = kLoaded[at(k)];
    ProgramSpec::Load load;
    load.from = random_read(random, out.spec.grid, dtype);
    sum = b.op(ScalarOp::kAdd, sum, b.cast(b.load(dtype), float64));
    if (chance(random, 0.2)) {
      move_to_host(random, load);
    } else {
      load.input = static_cast<int>(out.arrays.size());
      out.arrays.push_back(std::make_unique<StoredArray>(load.from.grid, dtype));
      out.arrays.back()->fill_small(random);
    }
    out.spec.loads.push_back(std::move(load));
  }
  if (!reduces || chance(random, 0.5)) {
    b.program.stores.push_back(sum);
    out.outputs.emplace_back(out.spec.grid, float64);
  }
  if (reduces) {
    b.reduce(ReduceOp::kSum, sum);
    b.reduce(ReduceOp::kMax, sum);
    std::vector<AxisChunks> kept;
    for (int a = 0; a < rank; ++a) {
      b.program.reduced.push_back(chance(random, 0.6));
      const AxisChunks& axis = out.spec.grid.axis(a);
      kept.push_back(b.program.reduced.back()
                         ? AxisChunks::of(std::vector<std::int64_t>(at(axis.count()), 1))
                         : axis);
    }
    out.outputs.emplace_back(ChunkGrid(kept), float64, ReduceOp::kSum);
    out.outputs.emplace_back(ChunkGrid(kept), float64, ReduceOp::kMax);
  }
  out.spec.program = b.program;
  return out;
}

// Accumulators' planes have gaps behind them, which are not compared.
void expect_equal_block(const BlockSize& size, std::int64_t block, const AlignedBytes& a,
                        const AlignedBytes& b) {
  if (!size.is_accumulator()) {
    EXPECT_TRUE(a == b);
    return;
  }
  const std::int64_t count = size.grid().block_elements(block);
  const std::vector<DType> planes = core::accumulator_dtypes(size.op(), size.dtype());
  for (std::size_t p = 0; p < planes.size(); ++p) {
    const std::size_t offset =
        core::accumulator_offset(size.op(), size.dtype(), count, static_cast<int>(p));
    if (p == 0 && planes.size() == 2 && count > 0) {  // a value counts where there is one
      const std::size_t flags = core::accumulator_offset(size.op(), size.dtype(), count, 1);
      for (std::int64_t i = 0; i < count; ++i) {
        if (a.data()[flags + at(i)] == std::byte{0}) continue;
        EXPECT_EQ(std::memcmp(a.data() + offset + at(i) * 8, b.data() + offset + at(i) * 8, 8), 0);
      }
      continue;
    }
    EXPECT_EQ(std::memcmp(a.data() + offset, b.data() + offset, at(count) * itemsize(planes[p])), 0)
        << "plane " << p;
  }
}

void expect_host_results(Machine& machine, const TaskSetup& setup) {
  for (std::int64_t block = 0; block < setup.spec.grid.block_count(); ++block) {
    const BlockIndex coords = setup.spec.grid.unlinear(block);
    const TaskBox box = task_box(setup.spec.grid, coords);
    TaskCase task{.spec = setup.spec, .block = block, .coords = coords, .outputs = setup.outputs};
    for (const ProgramSpec::Load& load : setup.spec.loads) {
      if (load.input < 0) continue;
      const StoredArray& array = *setup.arrays[at(load.input)];
      if (load.mirror) {
        const BlockIndex pair{std::min(coords[0], coords[1]), std::max(coords[0], coords[1])};
        task.inputs.push_back({&array, {array.grid.linear(pair)}});
      } else {
        task.inputs.push_back({&array, blocks_read(load.from, box)});
      }
    }
    TaskRunner runner(task);
    const std::vector<AlignedBytes> expected = runner.on_host();
    const std::vector<AlignedBytes> got = runner.on_device(machine.system, *machine.registry);
    for (std::size_t o = 0; o < expected.size(); ++o) {
      expect_equal_block(setup.outputs[o], block, got[o], expected[o]);
      ASSERT_FALSE(::testing::Test::HasFailure()) << "output " << o << " of block " << block << "\n"
                                                  << setup.spec.describe();
    }
  }
}

TEST(ProgramTaskCuda, MapsReadTheirOperandsWhereTheyLie) {
  Machine machine;
  Random random(test::kBlockSeed);
  for (int round = 0; round < 60; ++round) {
    const TaskSetup setup = random_setup(random, false);
    ASSERT_NO_FATAL_FAILURE(expect_host_results(machine, setup)) << "round " << round;
  }
  EXPECT_EQ(machine.simulated.misuse(), "");
}

TEST(ProgramTaskCuda, ReductionsGatherWhatLiesInSeveralBlocks) {
  Machine machine;
  Random random(test::kBlockSeed + 1);
  for (int round = 0; round < 30; ++round) {
    const TaskSetup setup = random_setup(random, true);
    ASSERT_NO_FATAL_FAILURE(expect_host_results(machine, setup)) << "round " << round;
  }
  EXPECT_EQ(machine.simulated.misuse(), "");
}

// x + x.T of a symmetric array that holds half of its blocks.
TEST(ProgramTaskCuda, MirroredBlocksAreReadTurnedBelowTheDiagonal) {
  Machine machine;
  Random random(test::kBlockSeed + 2);
  TaskSetup setup;
  const AxisChunks axis = AxisChunks::of({40, 17, 33});
  setup.spec.grid = ChunkGrid({axis, axis});
  ProgramBuilder b(2);
  ProgramSpec::Load load;
  load.from = {array::identity_read(2), setup.spec.grid, float32};
  load.input = 0;
  load.mirror = true;
  setup.arrays.push_back(std::make_unique<StoredArray>(setup.spec.grid, float32));
  setup.arrays[0]->fill_small(random);
  setup.spec.loads.push_back(load);
  b.program.stores.push_back(b.op(ScalarOp::kSquare, b.load(float32)));
  setup.spec.program = b.program;
  setup.outputs.emplace_back(setup.spec.grid, float32);
  expect_host_results(machine, setup);
}

// Host memory crosses by way of pinned memory that is smaller than what is read.
TEST(ProgramTaskCuda, HostMemoryCrossesInParts) {
  Machine machine;
  Random random(test::kBlockSeed + 3);
  TaskSetup setup;
  setup.spec.grid = ChunkGrid::whole({5'000'001});
  ProgramBuilder b(1);
  ProgramSpec::Load load;
  load.from = {{{0, 3, 1}}, ChunkGrid::whole({5'000'010}), float64};
  move_to_host(random, load);
  setup.spec.loads.push_back(load);
  b.program.stores.push_back(b.op(ScalarOp::kNegative, b.load(float64)));
  setup.spec.program = b.program;
  setup.outputs.emplace_back(setup.spec.grid, float64);
  expect_host_results(machine, setup);
  EXPECT_TRUE(machine.registry->prepare(setup.spec)->occupies_thread());
}

}  // namespace
}  // namespace tessera::kernels::cuda
