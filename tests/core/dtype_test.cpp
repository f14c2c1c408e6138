#include "tessera/dtype.hpp"

#include <gtest/gtest.h>

#include <complex>
#include <limits>
#include <sstream>
#include <vector>

#include "tessera/error.hpp"
#include "tessera/scalar.hpp"

namespace tessera {
namespace {

constexpr int kDTypes = static_cast<int>(DType::kComplex128) + 1;

std::string message_of(const auto& call) {
  try {
    call();
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return "no error";
}

TEST(DType, NamesRoundTripAndSizesFollowThem) {
  for (int i = 0; i < kDTypes; ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(dtype_from_name(name(dtype)), dtype);
    const std::string text(name(dtype));
    const auto digits = text.find_first_of("0123456789");
    const std::size_t bits = digits == std::string::npos ? 8 : std::stoul(text.substr(digits));
    EXPECT_EQ(itemsize(dtype), bits / 8) << text;
    std::ostringstream out;
    out << dtype;
    EXPECT_EQ(out.str(), text);
  }
}

TEST(DType, UnknownNameSaysWhatToTry) {
  EXPECT_EQ(message_of([] { dtype_from_name("float128"); }),
            "[dtype_from_name] name must be that of a dtype; got \"float128\"; try \"float64\", "
            "\"int32\" or \"bool\"");
}

TEST(DType, KindsAndParts) {
  EXPECT_EQ(kind(bool_), DTypeKind::kBool);
  EXPECT_EQ(kind(int8), DTypeKind::kSignedInteger);
  EXPECT_EQ(kind(uint64), DTypeKind::kUnsignedInteger);
  EXPECT_EQ(kind(DType::kBFloat16), DTypeKind::kFloating);
  EXPECT_EQ(kind(complex64), DTypeKind::kComplex);
  EXPECT_EQ(real_dtype(complex64), float32);
  EXPECT_EQ(real_dtype(complex128), float64);
  EXPECT_EQ(real_dtype(int16), int16);
  EXPECT_EQ(complex_dtype(float32), complex64);
  EXPECT_EQ(complex_dtype(DType::kFloat16), complex64);
  EXPECT_EQ(complex_dtype(float64), complex128);
  EXPECT_EQ(complex_dtype(int8), complex128);
  EXPECT_EQ(complex_dtype(bool_), complex128);
  EXPECT_EQ(complex_dtype(complex64), complex64);
}

// np.result_type of NumPy 1.24 for bool, int8..int64, uint8..uint64, float32, float64, complex64
// and complex128, row by row.
TEST(DType, ResultTypeIsNumPys) {
  const std::vector<DType> order = {bool_,  int8,   int16,   int32,   int64,     uint8,     uint16,
                                    uint32, uint64, float32, float64, complex64, complex128};
  const char* table[] = {
      "? b h i l B H I L f d F D", "b b h i l h i l d f d F D", "h h h i l h i l d f d F D",
      "i i i i l i i l d d d D D", "l l l l l l l l d d d D D", "B h h i l B H I L f d F D",
      "H i i i l H H I L f d F D", "I l l l l I I I L d d D D", "L d d d d L L L L d d D D",
      "f f f d d f f d d f d F D", "d d d d d d d d d d d D D", "F F F D D F F D D F D F D",
      "D D D D D D D D D D D D D"};
  const std::string codes = "?bhilBHILfdFD";
  for (std::size_t i = 0; i < order.size(); ++i) {
    for (std::size_t j = 0; j < order.size(); ++j) {
      const DType expected = order[codes.find(table[i][2 * j])];
      EXPECT_EQ(result_type(order[i], order[j]), expected) << order[i] << " with " << order[j];
    }
  }
}

TEST(DType, ResultTypeIsSymmetricAndAssociatesWithStorageFloats) {
  EXPECT_EQ(result_type(DType::kFloat16, DType::kBFloat16), float32);
  EXPECT_EQ(result_type(DType::kFloat16, float32), float32);
  EXPECT_EQ(result_type(DType::kBFloat16, complex64), complex64);
  EXPECT_EQ(result_type(DType::kFloat16, int8), DType::kFloat16);
  EXPECT_EQ(result_type(DType::kBFloat16, uint8), DType::kBFloat16);
  EXPECT_EQ(result_type(DType::kBFloat16, int16), float32);
  EXPECT_EQ(result_type(DType::kFloat16, int32), float64);
  for (int i = 0; i < kDTypes; ++i) {
    for (int j = 0; j < kDTypes; ++j) {
      const auto a = static_cast<DType>(i);
      const auto b = static_cast<DType>(j);
      EXPECT_EQ(result_type(a, b), result_type(b, a));
    }
  }
}

TEST(DType, CanCastNeverNarrowsTheKind) {
  EXPECT_TRUE(can_cast(int64, int8));
  EXPECT_TRUE(can_cast(uint8, int8));
  EXPECT_TRUE(can_cast(bool_, uint8));
  EXPECT_TRUE(can_cast(int64, float32));
  EXPECT_TRUE(can_cast(float64, complex64));
  EXPECT_FALSE(can_cast(int8, uint64));
  EXPECT_FALSE(can_cast(int8, bool_));
  EXPECT_FALSE(can_cast(float32, int64));
  EXPECT_FALSE(can_cast(complex64, float64));
}

TEST(DType, LimitsAreThoseOfTheCppTypes) {
  const FloatInfo single = finfo(complex64);
  EXPECT_EQ(single.bits, 32);
  EXPECT_EQ(single.eps, std::numeric_limits<float>::epsilon());
  EXPECT_EQ(single.max, std::numeric_limits<float>::max());
  EXPECT_EQ(single.min, std::numeric_limits<float>::lowest());
  EXPECT_EQ(single.smallest_normal, std::numeric_limits<float>::min());
  const FloatInfo full = finfo(float64);
  EXPECT_EQ(full.eps, std::numeric_limits<double>::epsilon());
  EXPECT_EQ(full.max, std::numeric_limits<double>::max());
  EXPECT_EQ(full.smallest_normal, std::numeric_limits<double>::min());
  EXPECT_EQ(finfo(DType::kFloat16).max, 65504);
  EXPECT_EQ(finfo(DType::kFloat16).smallest_normal, 0x1p-14);
  EXPECT_EQ(finfo(DType::kBFloat16).eps, 0x1p-7);
  EXPECT_EQ(iinfo(int64).min, std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(iinfo(int8).max, 127u);
  EXPECT_EQ(iinfo(uint64).max, std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(iinfo(uint16).bits, 16);
  EXPECT_EQ(iinfo(uint16).min, 0);
  EXPECT_THROW(finfo(int8), InvalidArgument);
  EXPECT_THROW(iinfo(bool_), InvalidArgument);
}

TEST(DType, KindsHaveTheStandardsNames) {
  EXPECT_TRUE(isdtype(bool_, "bool"));
  EXPECT_FALSE(isdtype(bool_, "numeric"));
  EXPECT_TRUE(isdtype(uint8, "integral"));
  EXPECT_TRUE(isdtype(uint8, "unsigned integer"));
  EXPECT_FALSE(isdtype(uint8, "signed integer"));
  EXPECT_TRUE(isdtype(float32, "real floating"));
  EXPECT_TRUE(isdtype(complex64, "complex floating"));
  EXPECT_TRUE(isdtype(complex64, "numeric"));
  EXPECT_THROW(isdtype(int8, "integer"), InvalidArgument);
}

TEST(Scalar, DefaultDTypes) {
  EXPECT_EQ(Scalar(true).default_dtype(), bool_);
  EXPECT_EQ(Scalar(1).default_dtype(), int64);
  EXPECT_EQ(Scalar(1u).default_dtype(), uint64);
  EXPECT_EQ(Scalar(1.0f).default_dtype(), float64);
  EXPECT_EQ(Scalar(std::complex<float>(1, 2)).default_dtype(), complex128);
}

TEST(Scalar, IsWeakBesideAnArray) {
  EXPECT_EQ(Scalar(true).dtype_beside(int8), int8);
  EXPECT_EQ(Scalar(1).dtype_beside(int8), int8);
  EXPECT_EQ(Scalar(1).dtype_beside(bool_), int64);
  EXPECT_EQ(Scalar(1u).dtype_beside(bool_), uint64);
  EXPECT_EQ(Scalar(1).dtype_beside(float32), float32);
  EXPECT_EQ(Scalar(1.0).dtype_beside(float32), float32);
  EXPECT_EQ(Scalar(1.0).dtype_beside(DType::kBFloat16), DType::kBFloat16);
  EXPECT_EQ(Scalar(1.0).dtype_beside(complex64), complex64);
  EXPECT_EQ(Scalar(1.0).dtype_beside(int32), float64);
  EXPECT_EQ(Scalar(1.0).dtype_beside(bool_), float64);
  const Scalar z(std::complex<double>(0, 1));
  EXPECT_EQ(z.dtype_beside(float32), complex64);
  EXPECT_EQ(z.dtype_beside(float64), complex128);
  EXPECT_EQ(z.dtype_beside(int8), complex128);
  EXPECT_EQ(z.dtype_beside(complex64), complex64);
}

TEST(Scalar, TextReadsBackExactly) {
  EXPECT_EQ(Scalar(true).to_string(), "true");
  EXPECT_EQ(Scalar(-7).to_string(), "-7");
  EXPECT_EQ(Scalar(std::numeric_limits<std::uint64_t>::max()).to_string(), "18446744073709551615");
  EXPECT_EQ(Scalar(std::numeric_limits<std::int64_t>::min()).to_string(), "-9223372036854775808");
  EXPECT_EQ(Scalar(1.0).to_string(), "1.0");
  EXPECT_EQ(Scalar(-0.0).to_string(), "-0.0");
  EXPECT_EQ(Scalar(0.1).to_string(), "0.1");
  EXPECT_EQ(Scalar(1e300).to_string(), "1e+300");
  EXPECT_EQ(Scalar(std::numeric_limits<double>::infinity()).to_string(), "inf");
  EXPECT_EQ(Scalar(std::numeric_limits<double>::quiet_NaN()).to_string(), "nan");
  EXPECT_EQ(Scalar(std::complex<double>(1, -2)).to_string(), "(1.0-2.0j)");
  EXPECT_EQ(Scalar(std::complex<double>(0.5, 2)).to_string(), "(0.5+2.0j)");
}

TEST(Scalar, ConvertsAsAstype) {
  EXPECT_EQ(Scalar(-1).to<std::uint64_t>(), std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(Scalar(300).to<std::uint8_t>(), 44);
  EXPECT_EQ(Scalar(2.9).to<std::int32_t>(), 2);
  EXPECT_EQ(Scalar(std::numeric_limits<std::uint64_t>::max()).to<double>(), 0x1p64);
  EXPECT_EQ(Scalar(-3).to<float>(), -3.0f);
  EXPECT_EQ(Scalar(0.5).to<bool>(), true);
  EXPECT_EQ(Scalar(std::complex<double>(0, 1)).to<bool>(), true);
  EXPECT_EQ(Scalar(std::complex<double>(3, 1)).to<double>(), 3.0);
}

TEST(Scalar, RealNumbersBeyondAnIntegerTypeSaturate) {
  EXPECT_EQ(Scalar(1e300).to<std::int64_t>(), std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(Scalar(-1e300).to<std::int64_t>(), std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(Scalar(0x1p63).to<std::int64_t>(), std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(Scalar(-0x1p63).to<std::int64_t>(), std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(Scalar(0x1p63).to<std::uint64_t>(), std::uint64_t{1} << 63);
  EXPECT_EQ(Scalar(0x1p64).to<std::uint64_t>(), std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(Scalar(-0.5).to<std::uint64_t>(), 0u);
  EXPECT_EQ(Scalar(-1.0).to<std::uint8_t>(), 0);
  EXPECT_EQ(Scalar(255.5).to<std::uint8_t>(), 255);
  EXPECT_EQ(Scalar(127.9).to<std::int8_t>(), 127);
  EXPECT_EQ(Scalar(-128.9).to<std::int8_t>(), -128);
  EXPECT_EQ(Scalar(-129.0).to<std::int8_t>(), -128);
  EXPECT_EQ(Scalar(std::numeric_limits<double>::infinity()).to<std::int32_t>(),
            std::numeric_limits<std::int32_t>::max());
  EXPECT_EQ(Scalar(std::numeric_limits<double>::quiet_NaN()).to<std::int32_t>(), 0);
  EXPECT_EQ(Scalar(std::complex<double>(1e10, 1)).to<std::int32_t>(),
            std::numeric_limits<std::int32_t>::max());
}

}  // namespace
}  // namespace tessera
