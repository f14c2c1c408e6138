#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "kernels/cuda/program_reduce.hpp"
#include "kernels/cuda/reduce_walk.hpp"
#include "tests/cuda/program_cuda_fixture.hpp"
#include "tests/kernels/reduce_ops.hpp"

// Programs that end in reductions on a simulated device: values near those of the host, and bits
// that depend on the shape alone.

namespace tessera::kernels::cuda {
namespace {

using core::ReduceOp;
using test::chance;
using test::DeviceArray;
using test::draw;
using test::is_inexact;
using test::is_product;
using test::kAllReduceOps;
using test::names_places;
using test::ProgramBuilder;
using test::ProgramMachine;
using test::Rng;
using test::RunInput;
using test::TestArray;
using test::Value;
using Layout = TestArray::Layout;

constexpr std::uint64_t kSeed = 20250701;

/// The machine with its threads in another order; kernels are built once for all.
struct OrderedMachine {
  explicit OrderedMachine(unsigned order)
      : simulated({.devices = 1, .thread_order = order}),
        system(simulated.api(), {{0}, std::size_t{256} << 20, std::size_t{64} << 20}),
        cache(system) {}
  testing::SimulatedCuda simulated;
  device::cuda::CudaSystem system;
  KernelCache cache;
};

using Bytes = std::vector<std::byte>;

std::size_t output_bytes(const Program& program, const ProgramReduction& reduction,
                         std::int64_t kept) {
  const DType dtype = program.instrs[static_cast<std::size_t>(reduction.value)].dtype;
  return reduction.finish
             ? itemsize(reduced_dtype(reduction.op, dtype)) * static_cast<std::size_t>(kept)
             : accumulator_bytes(reduction.op, dtype, kept);
}

/// Runs on the device in scratch of exactly the promised size; stores go to `input.stores`.
template <typename M>
std::vector<Bytes> reduce_on_device(M& machine, const Program& program, const RunInput& input) {
  const ProgramReducer reducer(machine.cache, program);
  const device::cuda::BorrowedQueue queue(machine.system, 0);
  std::vector<std::unique_ptr<DeviceArray>> arrays;
  std::vector<SourceOperand> loads, stores;
  std::vector<SourceIndex> indices;
  const auto add = [&](const TestArray* array) {
    arrays.push_back(std::make_unique<DeviceArray>(*queue, *array));
    return arrays.back()->operand();
  };
  for (const TestArray* array : input.loads) loads.push_back(add(array));
  for (const TestArray* array : input.stores) stores.push_back(add(array));
  for (const host::AffineIndex& index : input.indices)
    indices.push_back({index.base, index.strides});
  const std::int64_t elements = test::count_of(input.shape);
  const device::Buffer scratch =
      queue->memory().allocate(ProgramReducer::scratch_bytes(program, elements));
  std::vector<device::Buffer> buffers;
  std::vector<std::byte*> outputs;
  std::vector<Bytes> results;
  for (const ProgramReduction& reduction : program.reductions) {
    results.emplace_back(output_bytes(program, reduction, test::kept_count(program, input.shape)));
    buffers.push_back(queue->memory().allocate(results.back().size()));
    outputs.push_back(buffers.back().data());
    // What lies between planes is not written.
    queue->fill(outputs.back(), 0, results.back().size());
  }
  const SourceArgs args{input.shape, loads, indices, stores};
  reducer.expect(args);
  reducer.run(*queue, args, outputs, scratch.data());
  for (std::size_t s = 0; s < stores.size(); ++s) arrays[loads.size() + s]->download();
  for (std::size_t k = 0; k < results.size(); ++k) {
    queue->copy(results[k].data(), outputs[k], results[k].size());
  }
  queue->wait();
  return results;
}

/// Strides that number elements in C order.
std::vector<std::int64_t> numbering(const std::vector<std::int64_t>& shape) {
  std::vector<std::int64_t> strides(shape.size());
  std::int64_t step = 1;
  for (std::size_t d = shape.size(); d-- > 0;) {
    strides[d] = step;
    step *= shape[d];
  }
  return strides;
}

/// Equal, or apart by what another order of additions may cost.
bool near(Value got, Value want, DType dtype, long double slack) {
  const auto part = [&](long double g, long double w) {
    if (w != w) return g != g;
    if (g == w) return true;
    const bool narrow = dtype == float32 || dtype == complex64;
    return is_inexact(dtype) && std::abs(g - w) <= (narrow ? 1e-6L : 1e-13L) * std::abs(w) + slack;
  };
  return part(got.real(), want.real()) && part(got.imag(), want.imag());
}

/// Compares what the device made of a reduction with the host's.
void expect_near(const Program& program, std::size_t k, std::int64_t kept, const std::byte* got,
                 const std::byte* want) {
  const ProgramReduction& reduction = program.reductions[k];
  const ReduceOp op = reduction.op;
  const DType dtype = program.instrs[static_cast<std::size_t>(reduction.value)].dtype;
  const std::vector<DType> planes = reduction.finish ? std::vector<DType>{reduced_dtype(op, dtype)}
                                                     : accumulator_dtypes(op, dtype);
  const bool may_be_empty = !reduction.finish && planes.size() == 2 && planes[1] == bool_;
  for (std::size_t p = 0; p < planes.size(); ++p) {
    const std::size_t offset =
        reduction.finish ? 0 : accumulator_offset(op, dtype, kept, static_cast<int>(p));
    for (std::int64_t i = 0; i < kept; ++i) {
      const std::size_t at = offset + static_cast<std::size_t>(i) * itemsize(planes[p]);
      const Value w = test::read(planes[p], want + at);
      const Value g = test::read(planes[p], got + at);
      if (may_be_empty && p == 0) {
        const std::size_t has =
            accumulator_offset(op, dtype, kept, 1) + static_cast<std::size_t>(i);
        if (want[has] == std::byte{0}) continue;
      }
      // Where an element is infinite, m2 says so; what the mean is depends on where it came.
      if (planes.size() == 3 && p == 1 && !std::isfinite(std::abs(w))) continue;
      // The order of factors decides what overflows, and complex infinities become NaN.
      if (is_product(op) && is_inexact(dtype)) {
        if (!std::isfinite(std::abs(w)) || !std::isfinite(std::abs(g)) || is_complex(dtype))
          continue;
        if (near(g, w, planes[p], 1e-11L * std::abs(w) + 1e-300L)) continue;
      }
      ASSERT_TRUE(near(g, w, planes[p], 1e-11L))
          << name(op) << " of " << dtype << ", plane " << p << " of output " << i << ": " << g
          << " for " << w << "\n"
          << program.to_string();
    }
  }
}

/// Every reduction of a dtype in one program. Those that may find no number are left out of
/// finished ones.
Program every_reduction(int rank, DType dtype, const std::vector<bool>& reduced, bool finish) {
  ProgramBuilder b(rank);
  const int x = b.load(dtype);
  const int index = b.index();
  for (const ReduceOp op : kAllReduceOps) {
    if (is_complex(dtype) && !has_identity(op)) continue;
    if (finish && (op == ReduceOp::kNanArgMin || op == ReduceOp::kNanArgMax)) continue;
    b.reduce(op, x, names_places(op) ? index : -1);
    b.program.reductions.back().finish = finish;
    b.program.reductions.back().ddof = 1.0;
  }
  b.program.reduced = reduced;
  return b.program;
}

struct Walk {
  std::vector<std::int64_t> shape;
  std::vector<bool> reduced;
};

// Rows, columns, all of it, axes in between, cut into parts, short rows, nothing to fold, one
// element.
const std::vector<Walk> kWalks = {
    {{37, 90}, {false, true}},  {{90, 37}, {true, false}},
    {{40, 1100}, {true, true}}, {{6, 50, 7, 3}, {false, true, false, true}},
    {{20000}, {true}},          {{700, 3}, {false, true}},
    {{0, 5}, {true, false}},    {{}, {}}};

TEST(ReduceCuda, EveryOperationInEveryDType) {
  ProgramMachine machine;
  Rng rng(kSeed);
  std::size_t walk = 0;
  for (const DType dtype : test::kAllDTypes) {
    for (int round = 0; round < 3; ++round) {
      const auto& [shape, reduced] = kWalks[walk++ % kWalks.size()];
      const bool finish = chance(rng, 0.5);
      const Program program =
          every_reduction(static_cast<int>(shape.size()), dtype, reduced, finish);
      TestArray x(dtype, shape, round == 0 ? Layout::kDense : Layout::kRandomBroadcast, rng);
      x.fill(rng, 0.01);
      const std::vector<std::int64_t> numbers = numbering(shape);
      const RunInput input{shape, {&x}, {{5, numbers}}, {}};
      const auto expected = test::run(host::PreparedProgram(program), input);
      const std::vector<Bytes> got = reduce_on_device(machine, program, input);
      for (std::size_t k = 0; k < got.size(); ++k) {
        ASSERT_NO_FATAL_FAILURE(expect_near(program, k, test::kept_count(program, shape),
                                            got[k].data(), expected[k]->data()));
      }
    }
  }
  EXPECT_EQ(machine.simulated.misuse(), "");
}

/// A walk, and strides of an operand that lies across it.
struct Crossing {
  Walk walk;
  std::vector<std::int64_t> strides;
};
const std::vector<Crossing> kCrossings = {
    {{{67, 1111}, {true, true}}, {1, 67}},     // tiles of rows
    {{{33, 1300}, {false, true}}, {1, 33}},    // of outputs
    {{{9000, 33}, {true, false}}, {1, 9000}},  // of outputs along the lanes
    {{{3, 40, 600}, {true, false, true}}, {24000, 1, 40}},
    {{{5, 600, 20}, {false, true, false}}, {12000, 1, 600}}};

TEST(ReduceCuda, BitsDependOnTheShapeAlone) {
  Rng rng(kSeed + 1);
  std::vector<std::vector<Bytes>> first;
  for (const unsigned order : {0u, 1u, 7u}) {
    OrderedMachine machine(order);
    Rng values(kSeed + 2);
    std::size_t number = 0;
    for (const DType dtype : {float64, float32, complex64, int16}) {
      for (const auto& [walk, crossed] : kCrossings) {
        const int rank = static_cast<int>(walk.shape.size());
        const std::vector<std::int64_t> dense = numbering(walk.shape);
        TestArray plain(dtype, walk.shape, dense);
        plain.fill(values, 0.0005);
        TestArray across(dtype, walk.shape, crossed);
        for (std::int64_t i = 0; i < plain.count(); ++i) across.set(i, plain.get(i));
        ProgramBuilder b(rank);
        const int x = b.load(dtype);
        const int sum = b.op(core::ScalarOp::kAdd, x, b.load(dtype));
        b.reduce(ReduceOp::kSum, sum);
        b.reduce(ReduceOp::kNanStd, sum);
        b.reduce(ReduceOp::kProd, x);
        if (!is_complex(dtype)) b.reduce(ReduceOp::kArgMax, sum, b.index());
        b.program.reduced = walk.reduced;
        if (number % 2 == 0) b.program.stores.push_back(sum);
        const bool indexed = b.program.index_count > 0;
        for (const TestArray* other : {&plain, &across}) {
          TestArray store(dtype, walk.shape, dense);
          RunInput input{walk.shape, {&plain, other}, {}, {}};
          if (indexed) input.indices.push_back({0, dense});
          if (!b.program.stores.empty()) input.stores.push_back(&store);
          std::vector<Bytes> results = reduce_on_device(machine, b.program, input);
          if (!input.stores.empty()) {
            const std::byte* begin = store.operand().data;
            results.emplace_back(begin,
                                 begin + static_cast<std::size_t>(store.count()) * itemsize(dtype));
          }
          if (order == 0 && other == &plain) first.push_back(results);
          EXPECT_TRUE(results == first[number])
              << dtype << ", crossing " << number << ", order " << order;
        }
        ++number;
      }
    }
    EXPECT_EQ(machine.simulated.misuse(), "");
  }
}

TEST(ReduceCuda, RandomProgramsAsTheHost) {
  ProgramMachine machine;
  Rng rng(kSeed + 3);
  for (int round = 0; round < 24; ++round) {
    const DType dtype = test::kAllDTypes[static_cast<std::size_t>(draw(rng, 0, 12))];
    const std::vector<std::int64_t> shape = test::random_shape(rng, 6000, true);
    ProgramBuilder b(static_cast<int>(shape.size()));
    const int x = b.load(dtype);
    const int index = b.index();
    for (int k = 0; k < 2; ++k) {
      const ReduceOp op = kAllReduceOps[draw(rng, 0, 21)];
      if (is_complex(dtype) && !has_identity(op)) continue;
      b.reduce(op, x, names_places(op) ? index : -1);
    }
    if (b.program.reductions.empty()) b.reduce(ReduceOp::kSum, x);
    if (chance(rng, 0.5)) b.program.stores.push_back(x);
    for (std::size_t d = 0; d < shape.size(); ++d) b.program.reduced.push_back(chance(rng, 0.5));
    TestArray a(dtype, shape, Layout::kRandomBroadcast, rng);
    a.fill(rng, 0.02);
    TestArray ours(dtype, shape, Layout::kRandom, rng);
    TestArray theirs(dtype, shape, Layout::kDense, rng);
    const std::vector<std::int64_t> numbers = numbering(shape);
    RunInput input{shape, {&a}, {{3, numbers}}, {}};
    if (!b.program.stores.empty()) input.stores = {&theirs};
    const auto expected = test::run(host::PreparedProgram(b.program), input);
    if (!b.program.stores.empty()) input.stores = {&ours};
    const std::vector<Bytes> got = reduce_on_device(machine, b.program, input);
    for (std::size_t k = 0; k < got.size(); ++k) {
      ASSERT_NO_FATAL_FAILURE(expect_near(b.program, k, test::kept_count(b.program, shape),
                                          got[k].data(), expected[k]->data()))
          << "round " << round;
    }
    for (std::int64_t i = 0; i < ours.count() && !input.stores.empty(); ++i) {
      ASSERT_EQ(std::memcmp(ours.address(i), theirs.address(i), itemsize(dtype)), 0)
          << "round " << round;
    }
  }
  EXPECT_EQ(machine.simulated.misuse(), "");
}

double sum_of(ProgramMachine& machine, const TestArray& x) {
  ProgramBuilder b(1);
  b.reduce(ReduceOp::kSum, b.load(x.dtype()));
  b.program.reduced = {true};
  const std::vector<Bytes> got = reduce_on_device(machine, b.program, {x.shape(), {&x}, {}, {}});
  double sum = 0;
  std::memcpy(&sum, got[0].data(), sizeof(sum));
  return sum;
}

TEST(ReduceCuda, SumsAreAsGoodAsPairwiseOnes) {
  ProgramMachine machine;
  constexpr std::int64_t kCount = 3'000'000;
  TestArray doubles(float64, {kCount}, {1});
  TestArray floats(float32, {kCount}, {1});
  for (std::int64_t i = 0; i < kCount; ++i) {
    doubles.set(i, 0.1);
    floats.set(i, 0.1F);
  }
  constexpr double kEps = 2.2e-16;
  EXPECT_NEAR(sum_of(machine, doubles), 0.1 * kCount, 40 * kEps * 0.1 * kCount);
  EXPECT_NEAR(sum_of(machine, floats), static_cast<double>(0.1F) * kCount,
              40 * kEps * 0.1 * kCount);
}

TEST(ReduceCuda, VariancesOfDataFarFromZero) {
  ProgramMachine machine;
  Rng rng(kSeed + 4);
  const std::vector<std::int64_t> shape{300, 400};
  TestArray x(float64, shape, Layout::kDense, rng);
  x.fill(rng);
  for (std::int64_t i = 0; i < x.count(); ++i) x.set(i, x.get(i) + Value(1e8));
  ProgramBuilder b(2);
  b.reduce(ReduceOp::kVar, b.load(float64));
  b.program.reductions[0].finish = true;
  b.program.reduced = {true, true};
  long double mean = 0;
  for (std::int64_t i = 0; i < x.count(); ++i) mean += x.get(i).real();
  mean /= static_cast<long double>(x.count());
  long double m2 = 0;
  for (std::int64_t i = 0; i < x.count(); ++i)
    m2 += (x.get(i).real() - mean) * (x.get(i).real() - mean);
  const std::vector<Bytes> got = reduce_on_device(machine, b.program, {shape, {&x}, {}, {}});
  const long double variance = test::read(float64, got[0].data()).real();
  EXPECT_NEAR(static_cast<double>(variance / (m2 / static_cast<long double>(x.count()))), 1.0,
              1e-10);
}

TEST(ReduceCuda, SlicesOfNanHaveNoPlace) {
  ProgramMachine machine;
  Rng rng(kSeed + 5);
  const std::vector<std::int64_t> shape{4, 30};
  TestArray x(float32, shape, Layout::kDense, rng);
  x.fill(rng);
  ProgramBuilder b(2);
  const int value = b.load(float32);
  b.reduce(ReduceOp::kMax, value);
  b.reduce(ReduceOp::kNanArgMax, value, b.index());
  b.program.reductions[1].finish = true;
  b.program.reduced = {false, true};
  const std::vector<std::int64_t> places{0, 1};
  const RunInput input{shape, {&x}, {{0, places}}, {}};
  const auto expected = test::run(host::PreparedProgram(b.program), input);
  const std::vector<Bytes> got = reduce_on_device(machine, b.program, input);
  EXPECT_EQ(std::memcmp(got[1].data(), expected[1]->data(), got[1].size()), 0);
  for (std::int64_t i = 30; i < 60; ++i) x.set(i, std::nanl(""));
  try {
    reduce_on_device(machine, b.program, input);
    FAIL() << "nothing was thrown";
  } catch (const InvalidArgument& error) {
    EXPECT_STREQ(error.what(),
                 "[nanargmax] every slice must hold a number; got a slice of NaN alone; "
                 "try where(isnan(x), fill, x) first");
  }
}

TEST(ReduceWalk, EveryThreadHasItsPlaceAndPartsCoverAll) {
  Rng rng(kSeed + 6);
  for (int round = 0; round < 3000; ++round) {
    const std::vector<std::int64_t> shape =
        test::random_shape(rng, std::int64_t{1} << draw(rng, 4, 34), true);
    std::vector<bool> reduced;
    std::int64_t kept = 1;
    for (const std::int64_t extent : shape) {
      reduced.push_back(chance(rng, 0.6));
      if (!reduced.back()) kept *= extent;
    }
    const std::int64_t elements = test::count_of(shape);
    const ReducePlan plan = plan_reduction(shape, reduced);
    const ReduceWalk& walk = plan.walk;
    EXPECT_EQ(walk.outputs, kept);
    EXPECT_EQ(walk.outputs * walk.outer * walk.inner, elements);
    EXPECT_EQ(walk.outputs_log + walk.outer_log + walk.inner_log, kReduceThreadsLog);
    EXPECT_GE(walk.tiles << walk.outputs_log, kept);
    if (elements == 0) continue;
    const std::int64_t down = (walk.outer + walk.outer_part - 1) / walk.outer_part;
    EXPECT_EQ(down * walk.inner_parts, plan.parts);
    EXPECT_GE(walk.inner_part * walk.inner_parts, walk.inner);
    EXPECT_LE(plan.parts, 65535);
    if (plan.parts == 1) continue;
    EXPECT_LE(plan.parts * kept, max_part_accumulators(elements))
        << kept << " x " << elements / kept;
    EXPECT_EQ(walk.outer_part % (std::int64_t{1} << walk.outer_log), 0);
  }
}

}  // namespace
}  // namespace tessera::kernels::cuda
