#include "io/netcdf/cf_decode.hpp"

#include <cmath>

#include "tests/io/io_fixture.hpp"

namespace tessera::io {
namespace {

NetcdfVariable variable(DType dtype, std::vector<NetcdfAttribute> attributes = {}) {
  NetcdfVariable result;
  result.name = "v";
  result.dtype = dtype;
  result.type_name = name(dtype);
  result.attributes = std::move(attributes);
  result.path = "a.nc";
  return result;
}

const auto number = [](const char* name, DType dtype, Scalar value) {
  return NetcdfAttribute::number(name, dtype, value);
};

template <typename Out, typename In>
std::vector<Out> decode(const CfDecode& plan, const std::vector<In>& in) {
  std::vector<Out> out(in.size());
  cf_decode(plan, in.data(), out.data(), in.size());
  return out;
}

// xarray's rule: integers of at most 16 bits need float32 without an offset, everything else packed
// float64.
TEST(CfDecode, ChoosesTheDecodedDtypeAsXarrayDoes) {
  const auto scale = number("scale_factor", DType::kFloat64, 0.01);
  const auto offset = number("add_offset", DType::kFloat64, 273.15);
  struct Row {
    DType stored;
    DType with_fill;
    DType with_scale;
    DType with_offset;
  };
  const Row rows[] = {
      {DType::kInt8, DType::kFloat32, DType::kFloat32, DType::kFloat64},
      {DType::kUInt8, DType::kFloat32, DType::kFloat32, DType::kFloat64},
      {DType::kInt16, DType::kFloat32, DType::kFloat32, DType::kFloat64},
      {DType::kUInt16, DType::kFloat32, DType::kFloat32, DType::kFloat64},
      {DType::kInt32, DType::kFloat64, DType::kFloat64, DType::kFloat64},
      {DType::kUInt32, DType::kFloat64, DType::kFloat64, DType::kFloat64},
      {DType::kInt64, DType::kFloat64, DType::kFloat64, DType::kFloat64},
      {DType::kFloat32, DType::kFloat32, DType::kFloat32, DType::kFloat32},
      {DType::kFloat64, DType::kFloat64, DType::kFloat64, DType::kFloat64},
  };
  for (const Row& row : rows) {
    EXPECT_TRUE(cf_decode_plan(variable(row.stored)).is_identity());
    EXPECT_EQ(cf_decode_plan(variable(row.stored)).decoded, row.stored);
    const auto fill = number("_FillValue", row.stored, 1);
    EXPECT_EQ(cf_decode_plan(variable(row.stored, {fill})).decoded, row.with_fill) << row.stored;
    EXPECT_EQ(cf_decode_plan(variable(row.stored, {fill, scale})).decoded, row.with_scale)
        << row.stored;
    EXPECT_EQ(cf_decode_plan(variable(row.stored, {scale, offset})).decoded, row.with_offset)
        << row.stored;
    EXPECT_EQ(cf_decode_plan(variable(row.stored, {offset})).decoded, row.with_offset)
        << row.stored;
  }
}

TEST(CfDecode, DecodesPackedValuesAndSeveralFills) {
  const CfDecode plan =
      cf_decode_plan(variable(DType::kInt16, {number("_FillValue", DType::kInt16, -32768),
                                              number("missing_value", DType::kInt16, -999),
                                              number("scale_factor", DType::kFloat64, 0.01)}));
  EXPECT_EQ(plan.fill_values,
            (std::vector<Scalar>{Scalar(std::int16_t{-32768}), Scalar(std::int16_t{-999})}));
  const auto out = decode<float>(plan, std::vector<std::int16_t>{-32768, -999, 0, 2715});
  EXPECT_TRUE(std::isnan(out[0]) && std::isnan(out[1]));
  EXPECT_EQ(out[2], 0.0f);
  EXPECT_EQ(out[3], 2715.0f * 0.01f);
}

TEST(CfDecode, MultipliesAndAddsWithTwoRoundings) {
  const CfDecode plan =
      cf_decode_plan(variable(DType::kInt32, {number("scale_factor", DType::kFloat64, 0.1),
                                              number("add_offset", DType::kFloat64, 0.3)}));
  std::vector<std::int32_t> in;
  for (int i = -1000; i < 1000; ++i) in.push_back(i * 1237);
  const auto out = decode<double>(plan, in);
  for (std::size_t i = 0; i < in.size(); ++i) {
    volatile double product = in[i] * 0.1;
    EXPECT_EQ(out[i], product + 0.3);
  }
}

TEST(CfDecode, FillValuesOfOtherTypes) {
  // 1e20 is not a float32 number; both sides round it.
  const CfDecode wide =
      cf_decode_plan(variable(DType::kFloat32, {number("missing_value", DType::kFloat64, 1e20)}));
  EXPECT_TRUE(std::isnan(decode<float>(wide, std::vector<float>{1e20f})[0]));
  // A NaN fill needs no comparison.
  EXPECT_TRUE(cf_decode_plan(
                  variable(DType::kFloat32, {number("_FillValue", DType::kFloat32, std::nan(""))}))
                  .is_identity());
  // What an int16 cannot hold never occurs in it.
  const CfDecode out_of_range =
      cf_decode_plan(variable(DType::kInt16, {number("_FillValue", DType::kInt32, 99999),
                                              number("missing_value", DType::kFloat64, 0.5)}));
  EXPECT_TRUE(out_of_range.is_identity());
  const CfDecode real =
      cf_decode_plan(variable(DType::kInt16, {number("_FillValue", DType::kFloat64, -999.0)}));
  EXPECT_EQ(real.fill_values, std::vector<Scalar>{Scalar(std::int16_t{-999})});
  const CfDecode twice =
      cf_decode_plan(variable(DType::kInt16, {number("_FillValue", DType::kInt16, 7),
                                              number("missing_value", DType::kInt16, 7)}));
  EXPECT_EQ(twice.fill_values.size(), 1u);
}

TEST(CfDecode, UnsignedAttributeChangesTheSign) {
  const CfDecode plan =
      cf_decode_plan(variable(DType::kInt8, {NetcdfAttribute::text("_Unsigned", "true"),
                                             number("_FillValue", DType::kInt8, -1),
                                             number("scale_factor", DType::kFloat32, 0.5f)}));
  EXPECT_EQ(plan.stored, DType::kUInt8);
  EXPECT_EQ(plan.decoded, DType::kFloat32);
  const auto out = decode<float>(plan, std::vector<std::int8_t>{-1, -2, 4});
  EXPECT_TRUE(std::isnan(out[0]));
  EXPECT_EQ(out[1], 127.0f);
  EXPECT_EQ(out[2], 2.0f);
  EXPECT_EQ(cf_decode_plan(variable(DType::kUInt16, {NetcdfAttribute::text("_Unsigned", "false")}))
                .stored,
            DType::kInt16);
}

TEST(CfDecode, EncodeInvertsDecode) {
  const CfDecode plan =
      cf_decode_plan(variable(DType::kInt16, {number("_FillValue", DType::kInt16, -32768),
                                              number("scale_factor", DType::kFloat64, 0.01),
                                              number("add_offset", DType::kFloat64, 273.15)}));
  std::vector<std::int16_t> in;
  for (int i = -32768; i < 32768; i += 3) in.push_back(static_cast<std::int16_t>(i));
  const auto out = decode<double>(plan, in);
  std::vector<std::int16_t> back(in.size());
  cf_encode(plan, out.data(), back.data(), out.size());
  EXPECT_EQ(back, in);
  const double hot = 1e6;
  EXPECT_NE(error_text<InvalidArgument>([&] {
              cf_encode(plan, &hot, back.data(), 1);
            }).find("packed values must fit int16"),
            std::string::npos);
  const double missing = std::nan("");
  const CfDecode no_fill =
      cf_decode_plan(variable(DType::kInt16, {number("scale_factor", DType::kFloat64, 0.01)}));
  EXPECT_NE(error_text<InvalidArgument>([&] {
              cf_encode(no_fill, &missing, back.data(), 1);
            }).find("needs a fill value"),
            std::string::npos);
}

TEST(CfDecode, RejectsWhatIsNoNumber) {
  NetcdfVariable text = variable(DType::kInt8);
  text.dtype = std::nullopt;
  text.type_name = "char";
  EXPECT_EQ(
      error_text<InvalidArgument>([&] { cf_decode_plan(text); }),
      "[netcdf] a variable must hold numbers; got \"v\", which holds char; try another variable");
  EXPECT_EQ(
      error_text<IoError>([&] {
        cf_decode_plan(variable(DType::kInt16, {NetcdfAttribute::text("scale_factor", "0.1")}));
      }),
      "[netcdf] scale_factor of a variable must be one number; got \"0.1\" for \"v\" of a.nc; try "
      "correcting the attribute");
  EXPECT_NE(error_text<IoError>([&] {
              cf_decode_plan(variable(DType::kInt16, {NetcdfAttribute::text("add_offset", "")}));
            }).find("[netcdf] add_offset of a variable must be one number; got \"\" for"),
            std::string::npos);
  const auto scaled_by_nan =
      variable(DType::kInt16, {number("scale_factor", DType::kFloat64, std::nan(""))});
  EXPECT_TRUE(cf_decode_plan(scaled_by_nan) == cf_decode_plan(scaled_by_nan));
}

}  // namespace
}  // namespace tessera::io
