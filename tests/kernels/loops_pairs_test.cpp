#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include "loops_fixture.hpp"
#include "program_fixture.hpp"

// Two operations in one loop against the same two in loops of their own, bit by bit.

namespace tessera::kernels::host {
namespace {

using core::ScalarOp;

constexpr ScalarOp kJoinable[] = {ScalarOp::kAdd, ScalarOp::kSubtract, ScalarOp::kMultiply};

template <class T>
std::vector<T> numbers(std::mt19937_64& random, std::int64_t n) {
  const auto padded = static_cast<std::size_t>(n) + kLanePadBytes / sizeof(T);
  std::vector<T> out(padded);
  const T special[] = {T(0),
                       -T(0),
                       std::numeric_limits<T>::infinity(),
                       std::numeric_limits<T>::quiet_NaN(),
                       std::numeric_limits<T>::denorm_min(),
                       std::numeric_limits<T>::max()};
  std::normal_distribution<T> normal(T(0), T(3));
  for (T& x : out) x = random() % 9 == 0 ? special[random() % 6] : normal(random);
  return out;
}

// NaNs are equal: which of two an operation hands on is for the compiler to choose.
template <class T>
bool same(const std::vector<T>& a, const std::vector<T>& b, std::int64_t n) {
  for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    if (std::memcmp(&a[i], &b[i], sizeof(T)) != 0) return false;
  }
  return true;
}

template <class T>
std::vector<T> apply(PairOp op, DType dtype, const std::vector<T>& a, const std::vector<T>& b,
                     std::int64_t n) {
  const bool from = op == PairOp::kSubtractFrom;
  const ScalarOp scalar = op == PairOp::kAdd        ? ScalarOp::kAdd
                          : op == PairOp::kMultiply ? ScalarOp::kMultiply
                                                    : ScalarOp::kSubtract;
  std::vector<T> out(a.size());
  const void* args[] = {from ? b.data() : a.data(), from ? a.data() : b.data()};
  find_loop(scalar, dtype)(args, out.data(), n);
  return out;
}

template <class T>
void every_pair(DType dtype) {
  std::mt19937_64 random(kSeed);
  for (int number = 0; number < 64; ++number) {
    const Pair pair{static_cast<PairOp>(number / 16), static_cast<PairOp>(number / 2 % 4),
                    number / 8 % 2 == 1, number % 2 == 1};
    for (const std::int64_t n : {1, 7, 64, 301}) {
      const std::vector<T> x = numbers<T>(random, n);
      std::vector<T> y = numbers<T>(random, n);
      std::vector<T> z = numbers<T>(random, n);
      const T y_all = y[0];
      const T z_all = z[0];
      std::vector<T> got(x.size());
      const void* args[] = {x.data(), pair.y_uniform ? &y_all : y.data(),
                            pair.z_uniform ? &z_all : z.data()};
      find_pair(pair, dtype)(args, got.data(), n);
      if (pair.y_uniform) std::fill(y.begin(), y.end(), y_all);
      if (pair.z_uniform) std::fill(z.begin(), z.end(), z_all);
      const std::vector<T> between = apply(pair.first, dtype, x, y, n);
      EXPECT_TRUE(same(got, apply(pair.second, dtype, between, z, n), n))
          << "pair " << number << ", " << n << " elements";
    }
  }
}

TEST(LoopPairs, EqualTwoLoops) {
  for_each_target([] {
    every_pair<float>(DType::kFloat32);
    every_pair<double>(DType::kFloat64);
  });
}

TEST(LoopPairs, ExistForArithmeticOfFloatsAlone) {
  EXPECT_EQ(pair_op(ScalarOp::kAdd, DType::kFloat32), PairOp::kAdd);
  EXPECT_EQ(pair_op(ScalarOp::kAdd, DType::kInt64), std::nullopt);
  EXPECT_EQ(pair_op(ScalarOp::kAdd, DType::kComplex64), std::nullopt);
  EXPECT_EQ(pair_op(ScalarOp::kDivide, DType::kFloat64), std::nullopt);
}

// Programs join pairs whichever side constants and earlier results stand on.
TEST(LoopPairs, ProgramsEqualOperationsOneByOne) {
  using test::TestArray;
  test::Rng random(kSeed);
  for (const ScalarOp first : kJoinable) {
    for (const ScalarOp second : kJoinable) {
      for (int sides = 0; sides < 16; ++sides) {
        // Operands of the two operations: a constant or a load, before or after.
        test::ProgramBuilder b(1);
        const int x = b.load(DType::kFloat64);
        const int w = b.load(DType::kFloat64);
        const int y = (sides & 1) != 0 ? b.constant(Scalar(0.3), DType::kFloat64) : w;
        const int t = (sides & 2) != 0 ? b.op(first, y, x) : b.op(first, x, y);
        const int z = (sides & 4) != 0 ? b.constant(Scalar(-1.7), DType::kFloat64) : x;
        b.program.stores.push_back((sides & 8) != 0 ? b.op(second, z, t) : b.op(second, t, z));
        const std::vector<std::int64_t> shape{1000};
        TestArray a(DType::kFloat64, shape, TestArray::Layout::kDense, random);
        TestArray c(DType::kFloat64, shape, TestArray::Layout::kDense, random);
        a.fill(random);
        c.fill(random);
        const TestArray out(DType::kFloat64, shape, TestArray::Layout::kDense, random);
        test::RunInput input{.shape = shape, .loads = {&a, &c}, .indices = {}, .stores = {&out}};
        test::run(PreparedProgram(b.program), input);
        const auto number = [&](ScalarOp op, double left, double right) {
          return op == ScalarOp::kAdd        ? left + right
                 : op == ScalarOp::kSubtract ? left - right
                                             : left * right;
        };
        for (std::int64_t i = 0; i < shape[0]; ++i) {
          const auto xi = static_cast<double>(a.get(i).real());
          const double yi = (sides & 1) != 0 ? 0.3 : static_cast<double>(c.get(i).real());
          const double ti = (sides & 2) != 0 ? number(first, yi, xi) : number(first, xi, yi);
          const double zi = (sides & 4) != 0 ? -1.7 : xi;
          const double expected =
              (sides & 8) != 0 ? number(second, zi, ti) : number(second, ti, zi);
          ASSERT_EQ(static_cast<double>(out.get(i).real()), expected)
              << b.program.to_string() << "element " << i;
        }
      }
    }
  }
}

}  // namespace
}  // namespace tessera::kernels::host
