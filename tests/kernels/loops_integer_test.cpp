#include <gtest/gtest.h>

#include <map>
#include <type_traits>

#include "tests/kernels/loops_fixture.hpp"

// Every row on integer and bool lanes against 128-bit arithmetic.

namespace tessera::kernels::host {
namespace {

using core::ScalarOp;
__extension__ using Wide = __int128;

template <class T>
constexpr int kWidth = 8 * sizeof(T);

template <class T>
Wide floor_quotient(Wide a, Wide b) {
  if (b == 0) return 0;
  const Wide q = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

Wide product(Wide a, Wide b) {
  __extension__ using Bits = unsigned __int128;
  return static_cast<Wide>(static_cast<Bits>(a) * static_cast<Bits>(b));
}

template <class T>
Wide power(Wide base, Wide exponent) {
  if (exponent < 0) {
    if (base == 1) return 1;
    if (base == -1) return exponent % 2 == 0 ? 1 : -1;
    return 0;
  }
  std::make_unsigned_t<T> result = 1;
  std::make_unsigned_t<T> factor = static_cast<std::make_unsigned_t<T>>(base);
  for (Wide e = exponent; e > 0; e >>= 1) {
    if (e & 1) result = static_cast<std::make_unsigned_t<T>>(1ull * result * factor);
    factor = static_cast<std::make_unsigned_t<T>>(1ull * factor * factor);
  }
  return static_cast<T>(result);
}

// Results are taken modulo 2^width.
template <class T>
const std::map<ScalarOp, Wide (*)(Wide, Wide)>& references() {
  static const std::map<ScalarOp, Wide (*)(Wide, Wide)> table = {
      {ScalarOp::kAbs, [](Wide a, Wide) { return a < 0 ? -a : a; }},
      {ScalarOp::kNegative, [](Wide a, Wide) { return -a; }},
      {ScalarOp::kPositive, [](Wide a, Wide) { return a; }},
      {ScalarOp::kSign, [](Wide a, Wide) { return Wide((a > 0) - (a < 0)); }},
      {ScalarOp::kSquare, [](Wide a, Wide) { return product(a, a); }},
      {ScalarOp::kAdd, [](Wide a, Wide b) { return a + b; }},
      {ScalarOp::kSubtract, [](Wide a, Wide b) { return a - b; }},
      {ScalarOp::kMultiply, product},
      {ScalarOp::kFloorDivide, floor_quotient<T>},
      {ScalarOp::kRemainder,
       [](Wide a, Wide b) { return b == 0 ? Wide(0) : a - floor_quotient<T>(a, b) * b; }},
      {ScalarOp::kPow, power<T>},
      {ScalarOp::kMaximum, [](Wide a, Wide b) { return a > b ? a : b; }},
      {ScalarOp::kMinimum, [](Wide a, Wide b) { return a < b ? a : b; }},
      {ScalarOp::kFmax, [](Wide a, Wide b) { return a > b ? a : b; }},
      {ScalarOp::kFmin, [](Wide a, Wide b) { return a < b ? a : b; }},
      {ScalarOp::kCeil, [](Wide a, Wide) { return a; }},
      {ScalarOp::kFloor, [](Wide a, Wide) { return a; }},
      {ScalarOp::kRound, [](Wide a, Wide) { return a; }},
      {ScalarOp::kTrunc, [](Wide a, Wide) { return a; }},
      {ScalarOp::kConj, [](Wide a, Wide) { return a; }},
      {ScalarOp::kReal, [](Wide a, Wide) { return a; }},
      {ScalarOp::kImag, [](Wide, Wide) { return Wide(0); }},
      {ScalarOp::kBitwiseAnd, [](Wide a, Wide b) { return a & b; }},
      {ScalarOp::kBitwiseOr, [](Wide a, Wide b) { return a | b; }},
      {ScalarOp::kBitwiseXor, [](Wide a, Wide b) { return a ^ b; }},
      {ScalarOp::kBitwiseInvert, [](Wide a, Wide) { return ~a; }},
      {ScalarOp::kBitwiseLeftShift,
       [](Wide a, Wide b) { return b < 0 || b >= kWidth<T> ? Wide(0) : product(a, Wide(1) << b); }},
      {ScalarOp::kBitwiseRightShift,
       [](Wide a, Wide b) { return b < 0 || b >= kWidth<T> ? Wide(a < 0 ? -1 : 0) : a >> b; }},
  };
  return table;
}

const std::map<ScalarOp, bool (*)(Wide, Wide)>& predicates() {
  static const std::map<ScalarOp, bool (*)(Wide, Wide)> table = {
      {ScalarOp::kEqual, [](Wide a, Wide b) { return a == b; }},
      {ScalarOp::kNotEqual, [](Wide a, Wide b) { return a != b; }},
      {ScalarOp::kLess, [](Wide a, Wide b) { return a < b; }},
      {ScalarOp::kLessEqual, [](Wide a, Wide b) { return a <= b; }},
      {ScalarOp::kGreater, [](Wide a, Wide b) { return a > b; }},
      {ScalarOp::kGreaterEqual, [](Wide a, Wide b) { return a >= b; }},
      {ScalarOp::kIsfinite, [](Wide, Wide) { return true; }},
      {ScalarOp::kIsinf, [](Wide, Wide) { return false; }},
      {ScalarOp::kIsnan, [](Wide, Wide) { return false; }},
      {ScalarOp::kLogicalAnd, [](Wide a, Wide b) { return a != 0 && b != 0; }},
      {ScalarOp::kLogicalOr, [](Wide a, Wide b) { return a != 0 || b != 0; }},
      {ScalarOp::kLogicalXor, [](Wide a, Wide b) { return (a != 0) != (b != 0); }},
      {ScalarOp::kLogicalNot, [](Wide a, Wide) { return a == 0; }},
  };
  return table;
}

// All pairs of 8-bit numbers; for wider types edges with each other and random numbers of all
// sizes.
template <class T>
std::vector<std::vector<T>> pairs() {
  std::vector<std::vector<T>> columns(2);
  const auto push = [&](T a, T b) {
    columns[0].push_back(a);
    columns[1].push_back(b);
  };
  if constexpr (sizeof(T) == 1) {
    for (int a = 0; a < 256; ++a) {
      for (int b = 0; b < 256; ++b) push(static_cast<T>(a), static_cast<T>(b));
    }
    return columns;
  }
  std::vector<T> edges;
  for (const T anchor : {T(0), std::numeric_limits<T>::min(), std::numeric_limits<T>::max(),
                         T(kWidth<T>), T(std::numeric_limits<T>::max() / 2)}) {
    for (int step = -3; step <= 3; ++step) edges.push_back(stepped(anchor, step));
  }
  for (const T a : edges) {
    for (const T b : edges) push(a, b);
  }
  std::mt19937_64 generator(kSeed);
  const auto draw = [&] { return static_cast<T>(generator() >> (generator() % 64)); };
  const auto with_sign = [&](T x) {
    return static_cast<T>((generator() & 1) != 0 ? 0ull - static_cast<std::uint64_t>(x) : x);
  };
  for (int i = 0; i < 20000; ++i) push(with_sign(draw()), with_sign(draw()));
  return columns;
}

template <class T>
class IntegerLoops : public ::testing::Test {};
using IntegerTypes = ::testing::Types<std::int8_t, std::int16_t, std::int32_t, std::int64_t,
                                      std::uint8_t, std::uint16_t, std::uint32_t, std::uint64_t>;
TYPED_TEST_SUITE(IntegerLoops, IntegerTypes);

TYPED_TEST(IntegerLoops, EveryRowIsExact) {
  using T = TypeParam;
  const std::vector<std::vector<T>> columns = pairs<T>();
  const std::size_t n = columns[0].size();
  for (int i = 0; i < core::kScalarOpCount; ++i) {
    const auto op = static_cast<ScalarOp>(i);
    if (find_loop(op, dtype_of<T>) == nullptr || op == ScalarOp::kWhere) continue;
    const auto row = references<T>().find(op);
    const auto test = predicates().find(op);
    const bool predicate = row == references<T>().end();
    ASSERT_TRUE(!predicate || test != predicates().end())
        << core::info(op).name << " has no reference";
    for_each_target([&] {
      std::vector<T> numbers;
      std::vector<std::uint8_t> truths;
      if (predicate) {
        truths = run<std::uint8_t>(op, dtype_of<T>, columns);
      } else {
        numbers = run<T>(op, dtype_of<T>, columns);
      }
      int wrong = 0;
      for (std::size_t k = 0; k < n; ++k) {
        const Wide a = columns[0][k];
        const Wide b = columns[1][k];
        const bool right = predicate ? truths[k] == test->second(a, b)
                                     : numbers[k] == static_cast<T>(row->second(a, b));
        if (!right && ++wrong <= 3) {
          ADD_FAILURE() << core::info(op).name << "(" << +columns[0][k] << ", " << +columns[1][k]
                        << ") is " << (predicate ? +truths[k] : +numbers[k]);
        }
      }
      EXPECT_EQ(wrong, 0);
    });
  }
}

TEST(BoolLoops, AreLogic) {
  const std::vector<std::vector<std::uint8_t>> columns = {{0, 0, 1, 1}, {0, 1, 0, 1}};
  using Values = std::vector<std::uint8_t>;
  const std::map<ScalarOp, Values> table = {
      {ScalarOp::kAdd, {0, 1, 1, 1}},           {ScalarOp::kMultiply, {0, 0, 0, 1}},
      {ScalarOp::kMaximum, {0, 1, 1, 1}},       {ScalarOp::kMinimum, {0, 0, 0, 1}},
      {ScalarOp::kFmax, {0, 1, 1, 1}},          {ScalarOp::kFmin, {0, 0, 0, 1}},
      {ScalarOp::kAbs, {0, 0, 1, 1}},           {ScalarOp::kReal, {0, 0, 1, 1}},
      {ScalarOp::kImag, {0, 0, 0, 0}},          {ScalarOp::kEqual, {1, 0, 0, 1}},
      {ScalarOp::kNotEqual, {0, 1, 1, 0}},      {ScalarOp::kLess, {0, 1, 0, 0}},
      {ScalarOp::kLessEqual, {1, 1, 0, 1}},     {ScalarOp::kGreater, {0, 0, 1, 0}},
      {ScalarOp::kGreaterEqual, {1, 0, 1, 1}},  {ScalarOp::kLogicalAnd, {0, 0, 0, 1}},
      {ScalarOp::kLogicalOr, {0, 1, 1, 1}},     {ScalarOp::kLogicalXor, {0, 1, 1, 0}},
      {ScalarOp::kLogicalNot, {1, 1, 0, 0}},    {ScalarOp::kBitwiseAnd, {0, 0, 0, 1}},
      {ScalarOp::kBitwiseOr, {0, 1, 1, 1}},     {ScalarOp::kBitwiseXor, {0, 1, 1, 0}},
      {ScalarOp::kBitwiseInvert, {1, 1, 0, 0}},
  };
  for_each_target([&] {
    for (int i = 0; i < core::kScalarOpCount; ++i) {
      const auto op = static_cast<ScalarOp>(i);
      if (find_loop(op, bool_) == nullptr || op == ScalarOp::kWhere) continue;
      ASSERT_TRUE(table.contains(op)) << core::info(op).name << " has no reference";
      EXPECT_EQ(run<std::uint8_t>(op, bool_, columns), table.at(op)) << core::info(op).name;
    }
  });
}

// Selection copies bits, whatever they mean.
template <class T>
void check_where(DType dtype) {
  std::mt19937_64 generator(kSeed);
  const std::size_t n = 1000;
  std::vector<std::uint8_t> condition(n);
  for (auto& c : condition) c = generator() & 1;
  const std::vector<T> a = any_values<T>(n, generator);
  const std::vector<T> b = any_values<T>(n, generator);
  for_each_target([&] {
    const Buffer<std::uint8_t> c(condition);
    const Buffer<T> first(a);
    const Buffer<T> second(b);
    Buffer<T> out(n);
    const void* args[] = {c.data(), first.data(), second.data()};
    find_loop(ScalarOp::kWhere, dtype)(args, out.data(), static_cast<std::int64_t>(n));
    const std::vector<T> got = out.values();
    for (std::size_t i = 0; i < n; ++i) {
      ASSERT_TRUE(same_bits(got[i], condition[i] != 0 ? a[i] : b[i])) << dtype << " " << i;
    }
  });
}

TEST(WhereLoops, SelectBits) {
  struct Sixteen {
    std::uint64_t low, high;
  };
  check_where<std::uint8_t>(bool_);
  check_where<std::int8_t>(int8);
  check_where<std::uint8_t>(uint8);
  check_where<std::int16_t>(int16);
  check_where<std::uint16_t>(uint16);
  check_where<std::uint16_t>(DType::kFloat16);
  check_where<std::uint16_t>(DType::kBFloat16);
  check_where<std::int32_t>(int32);
  check_where<std::uint32_t>(uint32);
  check_where<std::uint32_t>(float32);
  check_where<std::int64_t>(int64);
  check_where<std::uint64_t>(uint64);
  check_where<std::uint64_t>(float64);
  check_where<std::uint64_t>(complex64);
  check_where<Sixteen>(complex128);
}

}  // namespace
}  // namespace tessera::kernels::host
