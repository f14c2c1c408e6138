#include <gtest/gtest.h>

#include "tests/cuda/program_cuda_fixture.hpp"

// Fused programs that write arrays, on a simulated device: every layout of operands gives the bits
// of the host.

namespace tessera::kernels::cuda {
namespace {

using core::ScalarOp;
using test::chance;
using test::draw;
using test::ProgramBuilder;
using test::ProgramMachine;
using test::Rng;
using test::RunInput;
using test::TestArray;
using Layout = TestArray::Layout;

constexpr std::uint64_t kSeed = 20250611;

/// A program, and the dtypes of its loads.
struct Case {
  Program program;
  std::vector<DType> loads;
};

class CaseBuilder : public ProgramBuilder {
 public:
  using ProgramBuilder::ProgramBuilder;
  int load(DType dtype) {
    loads.push_back(dtype);
    return ProgramBuilder::load(dtype);
  }
  Case finish(std::vector<int> stores) {
    program.stores = std::move(stores);
    return {program, loads};
  }
  std::vector<DType> loads;
};

// Each is compiled in every variant that the layouts below ask for.
Case case_of(int number, int rank) {
  CaseBuilder b(rank);
  switch (number) {
    case 0: {
      const int x = b.load(float32);
      return b.finish({b.op(ScalarOp::kAdd, x, b.load(float32))});
    }
    case 1: {  // several stores, a constant, and bools beside wider elements
      const int x = b.load(float64);
      const int scaled = b.op(ScalarOp::kMultiply, x, b.constant(1.5, float64));
      const int y = b.load(float64);
      return b.finish(
          {b.op(ScalarOp::kWhere, b.load(bool_), scaled, y), b.op(ScalarOp::kLess, x, y)});
    }
    case 2: {
      const int x = b.cast(b.load(int8), int16);
      return b.finish({b.op(ScalarOp::kAdd, x, b.cast(b.load(uint8), int16))});
    }
    case 3:
      return b.finish({b.op(ScalarOp::kNegative, b.load(int8))});
    case 4: {  // elements too wide for a group
      const int x = b.load(complex128);
      const int y = b.load(complex64);
      return b.finish({b.op(ScalarOp::kMultiply, x, b.cast(y, complex128)), y});
    }
    default: {  // one operation that counts as slow
      const int x = b.load(float64);
      return b.finish({b.op(ScalarOp::kFloorDivide, x, b.load(float64))});
    }
  }
}
constexpr int kCases = 6;

std::vector<std::int64_t> layout_shape(Rng& rng) {
  if (chance(rng, 0.5)) return test::random_shape(rng, 20000, true);
  std::vector<std::int64_t> shape{draw(rng, 14, 150), draw(rng, 14, 150)};
  if (chance(rng, 0.3)) shape.insert(shape.begin() + draw(rng, 0, 2), draw(rng, 1, 3));
  return shape;
}

Layout any_layout(Rng& rng) {
  if (chance(rng, 0.4)) return Layout::kDense;
  return chance(rng, 0.6) ? Layout::kRandom : Layout::kRandomBroadcast;
}

TEST(ProgramCuda, EveryLayoutGivesTheBitsOfTheHost) {
  ProgramMachine machine;
  Rng rng(kSeed);
  for (int round = 0; round < 72; ++round) {
    const std::vector<std::int64_t> shape = layout_shape(rng);
    const Case c = case_of(round % kCases, static_cast<int>(shape.size()));
    std::vector<TestArray> loads, stores;
    loads.reserve(c.loads.size());
    stores.reserve(c.program.stores.size());
    RunInput input;
    input.shape = shape;
    for (const DType dtype : c.loads) {
      loads.emplace_back(dtype, shape, any_layout(rng), rng);
      loads.back().fill(rng);
      input.loads.push_back(&loads.back());
    }
    for (const int v : c.program.stores) {
      const DType dtype = c.program.instrs[static_cast<std::size_t>(v)].dtype;
      stores.emplace_back(dtype, shape, chance(rng, 0.8) ? Layout::kDense : Layout::kRandom, rng);
    }
    ASSERT_NO_FATAL_FAILURE(expect_same_bytes(machine, c.program, input, stores, rng))
        << "round " << round;
  }
  EXPECT_EQ(machine.simulated.misuse(), "");
}

// Draws of every distribution by one index, and the index.
Case draws_case(int rank) {
  CaseBuilder b(rank);
  const int i = b.index();
  const auto number = [&](RandomSpec spec, DType dtype) { return b.random(i, spec, dtype); };
  const RandomSpec integers{
      .distribution = Distribution::kIntegers, .seed = 9, .low = -5, .range = (1ull << 63) + 12345};
  return b.finish(
      {number({.distribution = Distribution::kNormal, .seed = 7, .a = 1, .b = 2}, float64),
       number({.distribution = Distribution::kNormal, .seed = 8, .a = 0, .b = 1}, float32),
       number({.distribution = Distribution::kUniform, .seed = ~0ull, .a = -1, .b = 2}, float64),
       number({.distribution = Distribution::kUniform, .seed = 1, .a = 0, .b = 1e-3}, float32),
       number({.distribution = Distribution::kExponential, .seed = 10, .a = 3}, float32),
       number(integers, int64), number(integers, uint8),
       number({.distribution = Distribution::kIntegers, .seed = 2, .low = 0, .range = 2}, bool_),
       i});
}

struct Numbering {
  std::vector<std::int64_t> shape;
  std::int64_t base;
  std::vector<std::int64_t> strides;
};

TEST(ProgramCuda, DrawsAreTheHostsWhateverSharesThem) {
  ProgramMachine machine;
  Rng rng(kSeed);
  const std::int64_t far = std::numeric_limits<std::int64_t>::max() - 100;
  const std::vector<Numbering> numberings = {{{999}, 0, {1}},
                                             {{1000}, 7, {1}},
                                             {{30, 40}, 12, {64, 1}},
                                             {{30, 41}, 12, {64, 1}},
                                             {{30, 40}, 12, {63, 1}},
                                             {{30, 40}, 3, {1, 30}},
                                             {{500}, 1000, {-1}},
                                             {{500}, 8, {2}},
                                             {{64}, 5, {0}},
                                             {{20, 8}, far, {1, 1}},
                                             {{3, 5, 7}, 40, {1000, 50, 1}}};
  for (const Numbering& numbering : numberings) {
    const Case c = draws_case(static_cast<int>(numbering.shape.size()));
    RunInput input;
    input.shape = numbering.shape;
    input.indices.push_back({numbering.base, numbering.strides});
    std::vector<TestArray> stores;
    stores.reserve(c.program.stores.size());
    for (const int v : c.program.stores) {
      stores.emplace_back(c.program.instrs[static_cast<std::size_t>(v)].dtype, input.shape,
                          Layout::kDense, rng);
    }
    ASSERT_NO_FATAL_FAILURE(expect_same_bytes(machine, c.program, input, stores, rng))
        << "from " << numbering.base;
  }
}

TEST(ProgramCuda, ProgramsThatDifferInNumbersHaveOneText) {
  const auto program = [](double constant, std::uint64_t seed) {
    CaseBuilder b(1);
    const RandomSpec spec{
        .distribution = Distribution::kUniform, .seed = seed, .a = constant, .b = 7};
    return b
        .finish({b.op(ScalarOp::kAdd, b.constant(constant, float32),
                      b.random(b.index(), spec, float32))})
        .program;
  };
  const Program first = program(0.5, 1);
  const Program second = program(std::numeric_limits<double>::quiet_NaN(), 2);
  EXPECT_EQ(program_source(first), program_source(second));
  const std::vector<std::int64_t> one{1};
  const SourceIndex index{0, one};
  const SourceOperand store{nullptr, one};
  const SourceArgs args{one, {}, {&index, 1}, {&store, 1}};
  EXPECT_NE(pack_params(first, args), pack_params(second, args));
  EXPECT_EQ(pack_params(first, args), pack_params(program(0.5, 1), args));
}

}  // namespace
}  // namespace tessera::kernels::cuda
