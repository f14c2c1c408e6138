#include <gtest/gtest.h>

#include <cmath>

#include "kernels/cuda/scan_walk.hpp"
#include "tests/cuda/block_task_fixture.hpp"
#include "tests/kernels/program_fixture.hpp"
#include "tests/kernels/reduce_ops.hpp"

// Merges of accumulators, sums of blocks and scans on a simulated device, against the host's
// kernels.

namespace tessera::kernels::cuda {
namespace {

using core::ReduceOp;
using test::AlignedBytes;
using test::chance;
using test::draw;
using test::is_inexact;
using test::is_product;
using test::kAllReduceOps;
using test::Machine;
using test::names_places;
using test::Rng;
using test::StoredArray;
using test::TaskCase;
using test::TaskRunner;
using test::TestArray;
using test::Value;

constexpr std::uint64_t kSeed = 20250702;

ChunkGrid one_axis(std::int64_t extent, std::int64_t chunk) {
  return ChunkGrid({AxisChunks::regular(extent, std::max<std::int64_t>(1, chunk))});
}

void expect_near(DType dtype, const std::byte* got, const std::byte* want, std::int64_t count) {
  const auto near = [&](long double g, long double w) {
    if (w != w) return g != g;
    if (g == w) return true;
    const bool narrow = dtype == float32 || dtype == complex64;
    return is_inexact(dtype) && std::abs(g - w) <= (narrow ? 1e-6L : 1e-12L) * std::abs(w) + 1e-11L;
  };
  for (std::int64_t i = 0; i < count; ++i) {
    const std::size_t at = static_cast<std::size_t>(i) * itemsize(dtype);
    const Value g = test::read(dtype, got + at);
    const Value w = test::read(dtype, want + at);
    ASSERT_TRUE(near(g.real(), w.real()) && near(g.imag(), w.imag()))
        << "element " << i << ": " << g << " for " << w;
  }
}

/// Accumulators that the host makes of random rows, one block for each piece; some of nothing.
StoredArray accumulators(ReduceOp op, DType dtype, std::int64_t kept, std::int64_t pieces,
                         std::int64_t rows, Rng& rng) {
  StoredArray out(one_axis(pieces * kept, kept), dtype);
  out.size = BlockSize(out.grid, dtype, op);
  out.blocks.clear();
  for (std::int64_t p = 0; p < pieces; ++p) {
    test::ProgramBuilder b(2);
    const int x = b.load(dtype);
    b.reduce(op, x, names_places(op) ? b.index() : -1);
    b.program.reduced = {true, false};
    const std::int64_t some = p > 0 && chance(rng, 0.1) ? 0 : rows;
    TestArray data(dtype, {some, kept}, TestArray::Layout::kDense, rng);
    data.fill(rng, is_product(op) ? 0.0 : 0.01);
    if (is_product(op) && is_inexact(dtype)) {
      for (std::int64_t i = 0; i < data.count(); ++i)
        data.set(i, Value(1) + data.get(i) / Value(64));
    }
    const std::vector<std::int64_t> numbers{1, 0};
    test::RunInput input{{some, kept}, {&data}, {}, {}};
    if (names_places(op)) input.indices.push_back({p * rows, numbers});
    const auto made = test::run(host::PreparedProgram(b.program), input);
    out.blocks.emplace_back(made[0]->bytes());
    std::memcpy(out.blocks.back().data(), made[0]->data(), made[0]->bytes());
  }
  return out;
}

TaskCase::Input all_of(const StoredArray& array) {
  TaskCase::Input input{&array, {}};
  for (std::size_t b = 0; b < array.blocks.size(); ++b)
    input.blocks.push_back(static_cast<std::int64_t>(b));
  return input;
}

TEST(MergeCuda, EveryOperationInEveryDType) {
  Machine machine;
  Rng rng(kSeed);
  for (const DType dtype : test::kAllDTypes) {
    for (int round = 0; round < 7; ++round) {
      const ReduceOp op = kAllReduceOps[draw(rng, 0, 21)];
      if (is_complex(dtype) && !has_identity(op)) continue;
      const std::int64_t kept = draw(rng, 1, 400);
      // One launch takes 16 pieces.
      const std::int64_t pieces = chance(rng, 0.3) ? draw(rng, 17, 40) : draw(rng, 1, 16);
      const StoredArray in = accumulators(op, dtype, kept, pieces, draw(rng, 20, 40), rng);
      MergeSpec spec;
      spec.op = op;
      spec.element = dtype;
      spec.finish = chance(rng, 0.5);
      spec.result = reduced_dtype(op, dtype);
      if (is_floating(spec.result) && chance(rng, 0.3)) spec.result = float64;
      spec.ddof = 1.0;
      spec.grid = one_axis(kept, kept);
      TaskCase task{.spec = spec, .coords = {0}, .inputs = {all_of(in)}};
      task.outputs.push_back(spec.finish ? BlockSize(spec.grid, spec.result)
                                         : BlockSize(spec.grid, dtype, op));
      TaskRunner runner(task);
      const AlignedBytes want = std::move(runner.on_host()[0]);
      const AlignedBytes got = std::move(runner.on_device(machine.system, *machine.registry)[0]);
      const std::vector<DType> planes =
          spec.finish ? std::vector<DType>{spec.result} : accumulator_dtypes(op, dtype);
      for (std::size_t p = 0; p < planes.size(); ++p) {
        const std::size_t at =
            spec.finish ? 0 : accumulator_offset(op, dtype, kept, static_cast<int>(p));
        ASSERT_NO_FATAL_FAILURE(expect_near(planes[p], got.data() + at, want.data() + at, kept))
            << name(op) << " of " << dtype << ", plane " << p << ", " << pieces << " pieces";
      }
    }
  }
}

TEST(MergeCuda, SlicesOfNanHaveNoPlace) {
  Machine machine;
  Rng rng(kSeed + 1);
  StoredArray in = accumulators(ReduceOp::kNanArgMin, float64, 5, 3, 4, rng);
  const std::size_t places = core::accumulator_offset(ReduceOp::kNanArgMin, float64, 5, 1);
  for (AlignedBytes& block : in.blocks)
    reinterpret_cast<std::int64_t*>(block.data() + places)[3] = -1;
  MergeSpec spec;
  spec.op = ReduceOp::kNanArgMin;
  spec.result = int64;
  spec.grid = one_axis(5, 5);
  spec.finish = true;
  TaskCase task{.spec = spec, .coords = {0}, .inputs = {all_of(in)}};
  task.outputs.emplace_back(spec.grid, int64);
  TaskRunner runner(task);
  const std::string theirs = test::thrown_text<InvalidArgument>([&] { runner.on_host(); });
  EXPECT_EQ(theirs, test::thrown_text<InvalidArgument>(
                        [&] { runner.on_device(machine.system, *machine.registry); }));
  EXPECT_TRUE(machine.registry->prepare(spec)->occupies_thread());
}

TEST(MergeCuda, RefusesResultsAsTheHostDoes) {
  Machine machine;
  MergeSpec spec;
  spec.op = ReduceOp::kArgMax;
  spec.element = DType::kFloat16;
  spec.grid = one_axis(5, 5);
  spec.finish = true;
  EXPECT_EQ(test::thrown_text<InvalidArgument>([&] { machine.registry->prepare(spec); }),
            "[argmax] the dtype must have arithmetic; got float16; try astype(float32)");
}

TEST(AddBlocksCuda, GivesTheBitsOfTheHost) {
  Machine machine;
  Rng rng(kSeed + 2);
  for (const DType dtype : test::kAllDTypes) {
    for (const std::int64_t pieces : {1, 3, 4, 7, 16}) {
      const std::int64_t elements = draw(rng, 1, 3000);
      StoredArray in(one_axis(pieces * elements, elements), dtype);
      for (AlignedBytes& block : in.blocks) {
        TestArray data(dtype, {elements}, {1});
        data.fill(rng);
        std::memcpy(block.data(), data.operand().data, block.size());
      }
      AddBlocksSpec spec;
      spec.grid = one_axis(elements, elements);
      spec.dtype = dtype;
      TaskCase task{.spec = spec, .coords = {0}, .inputs = {all_of(in)}};
      task.outputs.emplace_back(spec.grid, dtype);
      TaskRunner runner(task);
      EXPECT_EQ(runner.on_host(), runner.on_device(machine.system, *machine.registry))
          << dtype << ", " << pieces;
    }
  }
}

/// A scan task of one block of a random shape. Its numbers are such that sums are exact in any
/// order.
class ScanCase {
 public:
  ScanCase(std::vector<std::int64_t> shape, int axis, DType dtype, Rng& rng) {
    spec_.axis = axis;
    std::vector<AxisChunks> axes, carry_axes;
    for (std::size_t d = 0; d < shape.size(); ++d) {
      axes.push_back(AxisChunks::regular(shape[d], std::max<std::int64_t>(1, shape[d])));
      carry_axes.push_back(static_cast<int>(d) == axis ? AxisChunks::regular(1, 1) : axes.back());
      spec_.from.read.push_back({static_cast<int>(d), 0, 1});
    }
    constexpr ReduceOp kOps[] = {ReduceOp::kSum, ReduceOp::kProd, ReduceOp::kNanSum,
                                 ReduceOp::kNanProd};
    spec_.op = kOps[draw(rng, 0, 3)];
    spec_.dtype = dtype == bool_ ? int64 : dtype;
    if (dtype == float32 && chance(rng, 0.3)) spec_.dtype = float64;
    spec_.carry = core::accumulator_dtypes(spec_.op, spec_.dtype)[0];
    spec_.mode = static_cast<ScanSpec::Mode>(draw(rng, 0, 3));
    const bool prefix = spec_.mode == ScanSpec::Mode::kPrefix;
    const ChunkGrid carries(carry_axes);
    spec_.grid = prefix ? carries : ChunkGrid(axes);
    in_ = array(spec_.grid, prefix ? spec_.carry : dtype, rng);
    carry_ = array(carries, spec_.carry, rng);
    spec_.from.grid = spec_.grid;
    spec_.from.dtype = in_->dtype;
    task_.coords = BlockIndex(shape.size(), 0);
    task_.inputs = {{in_.get(), {0}}};
    if (spec_.mode == ScanSpec::Mode::kApply) task_.inputs.push_back({carry_.get(), {0}});
    const bool totals = spec_.mode == ScanSpec::Mode::kTotals;
    task_.outputs.emplace_back(totals ? carries : spec_.grid,
                               totals || prefix ? spec_.carry : spec_.dtype);
    if (!totals && spec_.mode != ScanSpec::Mode::kApply) {
      task_.outputs.emplace_back(carries, spec_.carry);
      task_.chained = chance(rng, 0.5);
      for (const BlockSize& size : task_.outputs) task_.before.emplace_back(size.bytes(0));
      std::memcpy(task_.before[1].data(), carry_->blocks[0].data(), carry_->blocks[0].size());
    }
  }

  const ScanSpec& spec() const { return spec_; }
  const TaskCase& task() const { return task_; }

 private:
  std::unique_ptr<StoredArray> array(const ChunkGrid& grid, DType dtype, Rng& rng) const {
    auto out = std::make_unique<StoredArray>(grid, dtype);
    const auto count = static_cast<std::int64_t>(out->blocks[0].size() / itemsize(dtype));
    TestArray data(dtype, {count}, {1});
    data.fill(rng);
    const bool skips_nan = spec_.op == ReduceOp::kNanSum || spec_.op == ReduceOp::kNanProd;
    for (std::int64_t i = 0; i < count && is_inexact(dtype); ++i) {
      if (is_product(spec_.op)) data.set(i, Value(1) + data.get(i) / Value(4096));
      if (skips_nan && chance(rng, 0.05)) data.set(i, std::nanl(""));
    }
    std::memcpy(out->blocks[0].data(), data.operand().data, out->blocks[0].size());
    return out;
  }
  ScanSpec spec_;
  TaskCase task_{.spec = spec_};
  std::unique_ptr<StoredArray> in_, carry_;
};

TEST(ScanCuda, GivesTheNumbersOfTheHost) {
  Rng rng(kSeed + 3);
  const std::vector<std::pair<std::vector<std::int64_t>, int>> fixed = {
      {{30000}, 0},   {{5000, 3}, 0},    {{700, 600}, 1}, {{600, 700}, 0},
      {{3, 9000}, 1}, {{20, 30, 40}, 1}, {{0, 4}, 0},     {{4, 0}, 0}};
  for (const unsigned order : {0u, 1u, 5u}) {
    Machine machine(std::size_t{64} << 20, order);
    for (int round = 0; round < 40; ++round) {
      std::vector<std::int64_t> shape;
      int axis = 0;
      if (chance(rng, 0.5)) {
        std::tie(shape, axis) = fixed[static_cast<std::size_t>(draw(rng, 0, 7))];
      } else {
        while (shape.empty()) shape = test::random_shape(rng, 4000, true);
        axis = static_cast<int>(draw(rng, 0, std::ssize(shape) - 1));
      }
      const DType dtype = test::kAllDTypes[static_cast<std::size_t>(draw(rng, 0, 12))];
      const ScanCase scan(shape, axis, dtype, rng);
      TaskRunner runner(scan.task());
      const std::vector<AlignedBytes> want = runner.on_host();
      const std::vector<AlignedBytes> got = runner.on_device(machine.system, *machine.registry);
      for (std::size_t o = 0; o < want.size(); ++o) {
        const BlockSize& size = scan.task().outputs[o];
        ASSERT_NO_FATAL_FAILURE(
            expect_near(size.dtype(), got[o].data(), want[o].data(), size.grid().block_elements(0)))
            << name(scan.spec().op) << " of " << dtype << " along " << axis << " of "
            << to_string(Shape(shape)) << ", mode " << static_cast<int>(scan.spec().mode)
            << ", output " << o;
      }
    }
  }
}

TEST(ScanWalk, SegmentsCoverALaneAndFitTheScratch) {
  Rng rng(kSeed + 4);
  for (int round = 0; round < 3000; ++round) {
    const std::int64_t lanes = draw(rng, 1, std::int64_t{1} << draw(rng, 0, 20));
    const std::int64_t length = draw(rng, 0, std::int64_t{1} << draw(rng, 0, 26));
    const ScanPlan plan = plan_scan(lanes, length, chance(rng, 0.5), chance(rng, 0.2));
    EXPECT_GE(plan.walk.segment * plan.walk.segments, length);
    EXPECT_LT(plan.walk.segment * (plan.walk.segments - 1), std::max<std::int64_t>(length, 1));
    if (plan.walk.segments > 1) {
      EXPECT_LE(lanes * plan.walk.segments, max_segment_totals(lanes * length));
    }
  }
}

}  // namespace
}  // namespace tessera::kernels::cuda
