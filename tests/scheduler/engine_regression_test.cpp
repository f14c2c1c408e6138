#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstring>
#include <limits>
#include <sstream>
#include <string>

#include "tessera/tessera.hpp"

// Cases that once went wrong, each on its own.

namespace tessera {
namespace {

TEST(EngineRegression, ReducesAGeneratedRangeThatNothingElseReads) {
  EXPECT_EQ(sum(arange(10, {.chunks = {3}})).item<std::int64_t>(), 45);
  const HostArray rows = max(expand_dims(arange(4), -1), {.axis = -1}).compute();
  for (int i = 0; i < 4; ++i) EXPECT_EQ(rows.span<std::int64_t>()[static_cast<std::size_t>(i)], i);
}

// Blocks of few elements along what is reduced are reduced several at a time.
TEST(EngineRegression, ReducesBlocksOfFewElements) {
  for (const std::vector<std::int64_t>& chunks :
       {std::vector<std::int64_t>{1, 4, 2}, {1, 1, 1}, {2, 4, 5}, {3, 1, 7}, {8, 2, 2}}) {
    const Array x = random::integers(-50, 50, {11, 4, 7}, {.chunks = Chunks(chunks), .seed = 6});
    const Array whole = rechunk(x, {11, 4, 7});
    for (const Axes& axis : {Axes(), Axes(0), Axes(1), Axes(2), Axes{0, 2}, Axes{0, 1}}) {
      for (const Array& same :
           {sum(x, {.axis = axis}) == sum(whole, {.axis = axis}),
            max(x, {.axis = axis}) == max(whole, {.axis = axis}),
            count_nonzero(x, {.axis = axis}) == count_nonzero(whole, {.axis = axis}),
            abs(var(x, {.axis = axis}) - var(whole, {.axis = axis})) < 1e-9,
            mean(x, {.axis = axis}) == mean(whole, {.axis = axis})}) {
        EXPECT_TRUE(all(same).item<bool>()) << x.chunks().to_string();
      }
    }
    EXPECT_TRUE(all(argmin(x, {.axis = 0}) == argmin(whole, {.axis = 0})).item<bool>());
    EXPECT_EQ(argmax(x).item<std::int64_t>(), argmax(whole).item<std::int64_t>());
  }
}

TEST(EngineRegression, ProductWithManyOutputBlocksIsReadFromItsChain) {
  const Array x = random::normal({256, 256}, {.chunks = {16, 16}, .seed = 4}).persist();
  const Array small = matmul(x, x + 1.0);
  const Array large = matmul(rechunk(x, {64, 64}), rechunk(x, {64, 64}) + 1.0);
  EXPECT_LT(max(abs(small - large)).item<double>(), 1e-11);
}

std::string bits_of(const HostArray& x) {
  return std::string(reinterpret_cast<const char*>(x.data()), x.nbytes());
}

bool same(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

// Running values by the definition, one after the other, where NaN elements count as nothing.
std::vector<double> running(const std::vector<double>& x, bool product) {
  std::vector<double> out;
  double value = product ? 1.0 : 0.0;
  for (const double element : x) {
    const double v = std::isnan(element) ? (product ? 1.0 : 0.0) : element;
    out.push_back(value = product ? value * v : value + v);
  }
  return out;
}

// NaN that arose from numbers stays, whatever the chunks; only elements may be missing.
TEST(EngineRegression, RunningValuesSkipOnlyElements) {
  const double inf = std::numeric_limits<double>::infinity();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<std::vector<double>> cases = {{inf, -inf, 1, 2, nan, 3},
                                                  {1, inf, nan, -inf, 4, 5, 6},
                                                  {0, inf, 2, nan, 3},
                                                  {nan, nan, 2, 3},
                                                  {0, 1e200, 1e200, 1, nan, 2},
                                                  {1e200, 1e200, 1e-200, 1, 1},
                                                  {1e300, 1e-200, 1e-200, 1, nan, 2},
                                                  {inf, 1, 0, 5, nan, 1}};
  for (const std::vector<double>& x : cases) {
    for (const std::int64_t chunk : {1, 2, 3, 100}) {
      const Array a = asarray(x, {.chunks = {chunk}});
      const HostArray sums = nancumsum(a).compute();
      const HostArray products = nancumprod(a).compute();
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double sum = running(x, false)[i];
        const double product = running(x, true)[i];
        EXPECT_TRUE(same(sum, sums.span<double>()[i])) << chunk << " " << i;
        EXPECT_TRUE(same(product, products.span<double>()[i])) << chunk << " " << i;
      }
    }
  }
  // Long enough for segments.
  const Array zeroed = concat({zeros({1}), full({4000}, 1e10)});
  EXPECT_EQ(sum(abs(cumulative_prod(zeroed))).item<double>(), 0.0);
  EXPECT_EQ(bits_of(cumulative_prod(random::uniform({3000}, {.chunks = {7}, .seed = 1})).compute()),
            bits_of(cumulative_prod(random::uniform({3000}, {.seed = 1})).compute()));
}

TEST(EngineRegression, RangesReachTheEndsOfTheirDtypes) {
  const std::uint64_t half = std::uint64_t{1} << 63;
  const HostArray across = arange(half - 2, half + 2, {.chunks = {3}}).compute();
  for (std::uint64_t i = 0; i < 4; ++i) EXPECT_EQ(across.span<std::uint64_t>()[i], half - 2 + i);
  const HostArray wide = arange(INT64_MIN, INT64_MAX, INT64_MAX).compute();
  EXPECT_EQ(wide.span<std::int64_t>()[0], INT64_MIN);
  EXPECT_EQ(wide.span<std::int64_t>()[1], -1);
  EXPECT_EQ(wide.span<std::int64_t>()[2], INT64_MAX - 1);
}

// Squares that overflow make the variance infinite, infinite elements make it NaN, in any chunks.
TEST(EngineRegression, VarianceOfHugeNumbersIsInfinite) {
  const double inf = std::numeric_limits<double>::infinity();
  std::vector<double> many(500, 2.0);
  many[77] = 1e200;
  std::vector<double> infinite = many;
  infinite[200] = -inf;
  for (const std::vector<double>& x : {std::vector<double>{1e200, -1e200, 3},
                                       many,
                                       infinite,
                                       std::vector<double>{inf, 1, 2},
                                       {1, 2, -inf}}) {
    const bool finite = std::all_of(x.begin(), x.end(), [](double v) { return std::isfinite(v); });
    for (const std::int64_t chunk : {1, 2, 3, 64, 1000}) {
      const Array a = asarray(x, {.chunks = {chunk}});
      const Array column = expand_dims(a, 1) + zeros({1, 3});
      const std::vector<std::int64_t> labels(x.size(), 0);
      for (const double got :
           {var(a).item<double>(), nanvar(a).item<double>(), nanstd(a).item<double>(),
            max(var(column, {.axis = 0})).item<double>(),
            groupby_reduce(a, labels, "var").item<double>(),
            groupby_reduce(a, labels, "nanstd").item<double>()}) {
        EXPECT_TRUE(finite ? got == inf : std::isnan(got))
            << got << " " << chunk << " " << x.size();
      }
    }
  }
}

// A block of whole rows takes something of every block of whole columns. All of these together fit
// no device; pieces of them do, and each is spilled and read back once.
TEST(EngineRegression, LargeArraysAreCutAnewInPieces) {
  const std::int64_t rows = 700, columns = 600;
  const auto bytes = static_cast<std::size_t>(8 * rows * columns);
  const auto check = [&](const Array& x, const Chunks& chunks) {
    const HostArray expected = x.compute();
    const Array given = map_blocks(
        [](std::span<const InputBlock> in, const OutputBlock& out) {
          std::memcpy(out.data, in[0].data, in[0].size() * sizeof(double));
        },
        {x}, {.dtype = DType::kFloat64});
    for (const int devices : {1, 3}) {
      for (const Array& from : {x, given}) {
        SessionOptions tight;
        tight.devices = "host:" + std::to_string(devices);
        tight.device_memory_bytes = bytes / 3 / static_cast<std::size_t>(devices);
        tight.host_memory_bytes = 0;
        tight.disk_memory_bytes = 4 * bytes;
        Session session(tight);
        const HostArray got = session.compute({rechunk(from, chunks)})[0];
        const RunReport report = session.last_run();
        // How far the run is ahead of itself varies; whole blocks would come back 20 times.
        EXPECT_LE(report.to_disk_bytes, 2 * bytes);
        EXPECT_LE(report.from_disk_bytes, 2 * bytes);
        EXPECT_EQ(std::memcmp(got.data(), expected.data(), expected.nbytes()), 0);
      }
    }
  };
  check(random::normal({rows, columns}, {.chunks = {-1, 30}, .seed = 1}), {31, -1});
  check(random::normal({rows, columns}, {.chunks = {35, -1}, .seed = 2}), {-1, 33});
  check(random::normal({rows, columns}, {.chunks = {-1, 30}, .seed = 3}), {70, 60});
  check(random::normal({columns, rows}, {.chunks = {-1, 35}, .seed = 4}).T(), {-1, 30});
}

// More blocks along the axis than one task merges: what lies between holds all groups, too.
TEST(EngineRegression, GroupsOfManyBlocksAreMergedInSteps) {
  constexpr std::int64_t kColumns = 3, kGroups = 5;
  for (const std::int64_t blocks : {16, 17, 40, 256, 300}) {
    const std::int64_t rows = 2 * blocks + 1;
    const Array x = random::integers(-9, 10, {rows, kColumns}, {.chunks = {2, 2}, .seed = 8});
    const HostArray values = x.compute();
    std::vector<std::int64_t> labels;
    for (std::int64_t i = 0; i < rows; ++i) labels.push_back((i * 7 + i / 3) % kGroups);
    std::vector<double> sum(kGroups * kColumns), least(sum.size(), 1e9), squares(sum.size());
    std::vector<std::int64_t> count(kGroups);
    for (std::int64_t i = 0; i < rows; ++i) {
      ++count[static_cast<std::size_t>(labels[i])];
      for (std::int64_t j = 0; j < kColumns; ++j) {
        const auto at = static_cast<std::size_t>(labels[i] * kColumns + j);
        const auto v = static_cast<double>(
            values.span<std::int64_t>()[static_cast<std::size_t>(i * kColumns + j)]);
        sum[at] += v;
        squares[at] += v * v;
        least[at] = std::min(least[at], v);
      }
    }
    const Array real = astype(x, DType::kFloat64);
    for (const bool across : {false, true}) {
      const Array of = across ? real.T() : real;
      const GroupbyOptions options{.axis = across ? 1 : 0};
      const auto got = [&](const char* function) {
        const Array result = groupby_reduce(of, labels, function, options);
        return (across ? result.T() : result).compute();
      };
      const HostArray sums = got("sum"), minima = got("min"), means = got("mean"),
                      variances = got("var");
      for (std::int64_t g = 0; g < kGroups; ++g) {
        for (std::int64_t j = 0; j < kColumns; ++j) {
          const auto at = static_cast<std::size_t>(g * kColumns + j);
          const auto n = static_cast<double>(count[static_cast<std::size_t>(g)]);
          const double mean = sum[at] / n;
          EXPECT_EQ(sums.span<double>()[at], sum[at]) << blocks << " " << g;
          EXPECT_EQ(minima.span<double>()[at], least[at]) << blocks << " " << g;
          EXPECT_NEAR(means.span<double>()[at], mean, 1e-13) << blocks << " " << g;
          EXPECT_NEAR(variances.span<double>()[at], squares[at] / n - mean * mean, 1e-11)
              << blocks << " " << g;
        }
      }
    }
  }
}

// Groups that blocks tell apart are merged apart from each other, in steps where their blocks are
// many.
TEST(EngineRegression, GroupsOfTheirOwnBlocksAreMergedApart) {
  constexpr std::int64_t kColumns = 1 << 19;  // 4 MiB of sums
  for (const bool across : {false, true}) {
    for (const std::int64_t rows : {6, 41}) {
      const std::vector<std::int64_t> shape =
          across ? std::vector{kColumns, rows} : std::vector{rows, kColumns};
      const std::vector<std::int64_t> chunks =
          across ? std::vector{kColumns, std::int64_t{1}} : std::vector{std::int64_t{1}, kColumns};
      const Array x =
          random::integers(-9, 10, shape, {.chunks = chunks, .seed = 8, .dtype = int8}).persist();
      std::vector<std::int64_t> labels;
      for (std::int64_t i = 0; i < rows; ++i) labels.push_back(i % 5 == 4 ? -1 : (i * 7 + 2) % 3);
      for (const std::string function : {"sum", "mean", "var", "max"}) {
        // An integer has no largest element of nothing.
        const std::int64_t groups = function == "max" ? 3 : 4;
        const Array got =
            groupby_reduce(x, labels, function, {.axis = across ? 1 : 0, .group_count = groups});
        EXPECT_EQ(got.chunks().axis(across ? 1 : 0).count(), function == "max" ? 1 : 3);
        for (std::int64_t g = 0; g < 3; ++g) {
          std::vector<std::int64_t> own;
          for (std::int64_t i = 0; i < rows; ++i) {
            if (labels[static_cast<std::size_t>(i)] == g) own.push_back(i);
          }
          const Array of_group = take(x, own, across ? 1 : 0);
          const Axes over{across ? 1 : 0};
          const Array wanted = function == "sum"    ? sum(of_group, {.axis = over})
                               : function == "mean" ? mean(of_group, {.axis = over})
                               : function == "var"  ? var(of_group, {.axis = over})
                                                    : max(of_group, {.axis = over});
          const Array row = got.at(across ? std::vector<Index>{Slice{}, g} : std::vector<Index>{g});
          EXPECT_LT(max(abs(astype(row, float64) - astype(wanted, float64))).item<double>(), 1e-12)
              << function << " of group " << g;
        }
      }
    }
  }
}

// Means of each floating dtype, with groups and blocks that nothing belongs to.
TEST(EngineRegression, MeansOfGroupsThatAreRare) {
  for (const DType dtype : {float32, float64, complex64, complex128}) {
    const Array x = astype(arange(90, {.chunks = {3}}), dtype);
    std::vector<std::int64_t> labels(90, -1);
    for (std::size_t i = 0; i < 90; i += 7) labels[i] = i < 63 ? 2 : 4;
    const HostArray got =
        astype(groupby_reduce(x, labels, "mean", {.group_count = 6}), complex128).compute();
    const auto means = got.span<std::complex<double>>();
    ASSERT_EQ(means.size(), 6u);
    EXPECT_EQ(means[2], 28.0);
    EXPECT_EQ(means[4], 73.5);
    for (const std::size_t none : {0, 1, 3, 5}) EXPECT_TRUE(std::isnan(means[none].real()));
  }
}

// A budget that holds no task of whole blocks, on devices that together would hold everything.
TEST(EngineRegression, ATaskThatIsTooLargeForOneDeviceReadsPieces) {
  const Array x = random::normal({1400, 1400}, {.chunks = {-1, 20}, .seed = 1});
  const HostArray expected = x.compute();
  SessionOptions four;
  four.devices = "host:4";
  four.device_memory_bytes = std::size_t{8} << 20;
  Session session(four);
  const HostArray got = session.compute({rechunk(x, {20, -1})})[0];
  EXPECT_EQ(std::memcmp(got.data(), expected.data(), expected.nbytes()), 0);
}

// Dtypes without arithmetic are made, copied, converted and kept like all others.
TEST(EngineRegression, StoredDtypesAreMadeAndCopied) {
  const auto bits = [](const Array& x) {
    const HostArray h = x.compute();
    const auto* first = reinterpret_cast<const std::uint16_t*>(h.data());
    return std::vector<std::uint16_t>(first, first + h.size());
  };
  using Bits = std::vector<std::uint16_t>;
  for (const DType dtype : {DType::kFloat16, DType::kBFloat16}) {
    const bool half = dtype == DType::kFloat16;
    const std::uint16_t one = half ? 0x3c00 : 0x3f80;
    const std::uint16_t three_halves = half ? 0x3e00 : 0x3fc0;
    const std::uint16_t minus_two = 0xc000;
    EXPECT_EQ(bits(full({2}, 1.5, {.dtype = dtype})), Bits(2, three_halves));
    EXPECT_EQ(bits(zeros({5}, {.chunks = {2}, .dtype = dtype})), Bits(5, 0));
    EXPECT_EQ(bits(eye(2, {.dtype = dtype})), (Bits{one, 0, 0, one}));
    EXPECT_EQ(bits(tri(2, 2, {.dtype = dtype})), (Bits{one, 0, one, one}));
    EXPECT_EQ(bits(astype(asarray({1, -2}), dtype)), (Bits{one, minus_two}));
    EXPECT_EQ(bits(astype(asarray({1, 0}) == 1, dtype)), (Bits{one, 0}));
    const Array x = astype(asarray({1.0, 1.5, -2.0}, {.chunks = {2}}), dtype).persist();
    EXPECT_EQ(bits(x), (Bits{one, three_halves, minus_two}));
    EXPECT_EQ(bits(pad(x, {{1, 1}}, {.value = 1})), (Bits{one, one, three_halves, minus_two, one}));
    EXPECT_EQ(bits(diag(x[{Slice{.stop = 2}}])), (Bits{one, 0, 0, three_halves}));
    const HostArray whole = astype(x, int32).compute();
    EXPECT_EQ(whole.span<std::int32_t>()[2], -2);
    const HostArray complex = astype(x, complex64).compute();
    EXPECT_EQ(complex.span<std::complex<float>>()[1], std::complex<float>(1.5f, 0.0f));
    EXPECT_THROW(sort(zeros({2}, {.dtype = dtype})), InvalidArgument);
    EXPECT_THROW(topk(x, 1), InvalidArgument);
    EXPECT_THROW(searchsorted(x, x), InvalidArgument);
    EXPECT_THROW(isin(x, x), InvalidArgument);
    EXPECT_THROW(histogram(x, {.range = {{0.0, 1.0}}}), InvalidArgument);
    EXPECT_THROW(svdvals(zeros({2, 2}, {.dtype = dtype})), InvalidArgument);
    EXPECT_THROW(cumulative_sum(x), InvalidArgument);
  }
}

TEST(EngineRegression, ArraysAreShownUnderTheNameOfTheCall) {
  const auto shown = [](const Array& x) {
    std::ostringstream out;
    out << x;
    return out.str();
  };
  const Array x = zeros({6, 4}, {.chunks = {3, 4}});
  EXPECT_EQ(shown(sum(x)), "Array<sum, shape=(), dtype=float64, chunks=(), 8 B, 4 tasks>");
  EXPECT_EQ(shown(nanmax(x, {.axis = 1})).substr(0, 26), "Array<nanmax, shape=(6,), ");
  EXPECT_EQ(shown(zeros({std::int64_t{1} << 40}, {.chunks = {1}})),
            "Array<zeros, shape=(1099511627776,), dtype=float64, chunks=(1 x 1099511627776,), 8.00 "
            "TiB, more tasks than a plan holds>");
}

// No group at all, or no element in any of them.
TEST(EngineRegression, GroupsWithoutElements) {
  const std::vector<std::int64_t> none{-1, -1, -5};
  const Array x = reshape(arange(6, {.dtype = float64}), {3, 2});
  EXPECT_EQ(groupby_reduce(x, none, "mean").compute().shape(), (Shape{0, 2}));
  EXPECT_EQ(groupby_reduce(x, none, "min", {.group_count = 0}).compute().size(), 0);
  const HostArray means = groupby_reduce(x, none, "mean", {.group_count = 2}).compute();
  for (const double mean : means.span<double>()) EXPECT_TRUE(std::isnan(mean));
  const HostArray empty =
      groupby_reduce(zeros({0, 2}), std::vector<std::int64_t>{}, "sum", {.group_count = 3})
          .compute();
  EXPECT_EQ(empty.shape(), (Shape{3, 2}));
  for (const double sum : empty.span<double>()) EXPECT_EQ(sum, 0.0);
  EXPECT_EQ(groupby_reduce(zeros({0, 2}), std::vector<std::int64_t>{}, "count").compute().shape(),
            (Shape{0, 2}));
}

// Every depth reads the blocks that its elements come from.
TEST(EngineRegression, DeepNeighboursComeFromTheirBlocks) {
  const std::int64_t n = 11;
  const Array x = (arange(n, {.chunks = {3}, .dtype = float64}) * 1.0).persist();
  for (const Boundary boundary :
       {Boundary::kNone, Boundary::kReflect, Boundary::kPeriodic, Boundary::kNearest}) {
    for (const std::int64_t depth : {1, 2, 4, 11, 25}) {
      const auto total = [depth](const InputBlock& in, const OutputBlock& out) {
        for (std::int64_t i = 0; i < out.shape[0]; ++i) {
          double sum = 0.0;
          for (std::int64_t d = -depth; d <= depth; ++d) {
            const std::int64_t at = out.start[0] - in.start[0] + i + d;
            if (at >= 0 && at < in.shape[0]) sum += in.as<double>()[at * in.strides[0]];
          }
          out.as<double>()[i * out.strides[0]] = sum;
        }
      };
      const HostArray got =
          map_overlap(x, total, {.depth = {depth}, .boundary = {boundary}}).compute();
      for (std::int64_t i = 0; i < n; ++i) {
        double want = 0.0;
        for (std::int64_t p = i - depth; p <= i + depth; ++p) {
          const std::int64_t around = (p % (2 * n) + 2 * n) % (2 * n);
          if (p >= 0 && p < n) {
            want += static_cast<double>(p);
          } else if (boundary == Boundary::kReflect) {
            want += static_cast<double>(around < n ? around : 2 * n - 1 - around);
          } else if (boundary == Boundary::kPeriodic) {
            want += static_cast<double>(around % n);
          } else if (boundary == Boundary::kNearest) {
            want += static_cast<double>(p < 0 ? 0 : n - 1);
          }
        }
        EXPECT_EQ(got.span<double>()[static_cast<std::size_t>(i)], want) << depth << " " << i;
      }
    }
  }
}

// Sum over a window of `depth` places around each, weighted so that no two of them may be swapped.
void weigh_neighbours(const InputBlock& in, const OutputBlock& out, std::int64_t depth) {
  const double* x = in.as<double>();
  for (std::int64_t r = 0; r < out.shape[0]; ++r) {
    for (std::int64_t c = 0; c < out.shape[1]; ++c) {
      double sum = 0.0;
      for (std::int64_t i = -depth; i <= depth; ++i) {
        for (std::int64_t j = -depth; j <= depth; ++j) {
          const std::int64_t at[] = {out.start[0] - in.start[0] + r + i,
                                     out.start[1] - in.start[1] + c + j};
          if (at[0] < 0 || at[0] >= in.shape[0] || at[1] < 0 || at[1] >= in.shape[1]) continue;
          sum += static_cast<double>(5 * i + j + 20) *
                 x[at[0] * in.strides[0] + at[1] * in.strides[1]];
        }
      }
      out.as<double>()[r * out.strides[0] + c * out.strides[1]] = sum;
    }
  }
}

// Blocks wide enough that most of each is read in place.
TEST(EngineRegression, LocalFunctionsOnWideBlocksSeeTheirNeighbours) {
  const std::int64_t rows = 90;
  const std::int64_t cols = 700;
  const std::int64_t depth = 2;
  const Array x = random::uniform({rows, cols}, {.chunks = {31, 300}, .seed = 3}).persist();
  const HostArray values = x.compute();
  for (const Boundary boundary : {Boundary::kNone, Boundary::kReflect, Boundary::kPeriodic,
                                  Boundary::kNearest, Boundary::kConstant}) {
    MapOverlapOptions options;
    options.depth = {depth};
    options.boundary = {boundary};
    options.value = 0.5;
    const HostArray got =
        map_overlap(
            x, [](const InputBlock& in, const OutputBlock& out) { weigh_neighbours(in, out, 2); },
            options)
            .compute();
    const auto at = [&](std::int64_t i, std::int64_t n) {
      if (i >= 0 && i < n) return i;
      if (boundary == Boundary::kReflect) return i < 0 ? -i - 1 : 2 * n - 1 - i;
      if (boundary == Boundary::kPeriodic) return (i + n) % n;
      if (boundary == Boundary::kNearest) return i < 0 ? 0 : n - 1;
      return std::int64_t{-1};
    };
    for (std::int64_t p = 0; p < rows * cols; ++p) {
      double sum = 0.0;
      for (std::int64_t i = -depth; i <= depth; ++i) {
        for (std::int64_t j = -depth; j <= depth; ++j) {
          const std::int64_t r = at(p / cols + i, rows);
          const std::int64_t c = at(p % cols + j, cols);
          if ((r < 0 || c < 0) && boundary == Boundary::kNone) continue;
          const double v =
              r < 0 || c < 0 ? 0.5 : values.span<double>()[static_cast<std::size_t>(r * cols + c)];
          sum += static_cast<double>(5 * i + j + 20) * v;
        }
      }
      ASSERT_EQ(got.span<double>()[static_cast<std::size_t>(p)], sum)
          << "boundary " << static_cast<int>(boundary) << ", place " << p / cols << ", "
          << p % cols;
    }
  }
}

TEST(EngineDecomposition, FactorsOfTallWideAndSquareMatricesMultiplyBack) {
  const double tolerance = 1e-12;
  const struct {
    Shape shape;
    Chunks chunks;
  } cases[] = {{{5000, 40}, {300, 40}}, {{40, 900}, {40, 70}}, {{90, 70}, {16, 20}},
               {{300, 200}, {7, 200}},  {{1, 1}, {1, 1}},      {{64, 64}, {64, 64}},
               {{257, 3}, {1, 3}}};
  for (const auto& c : cases) {
    SCOPED_TRACE(to_string(c.shape));
    const Array x = random::normal(c.shape, {.chunks = c.chunks, .seed = 9});
    const std::int64_t k = std::min(c.shape[0], c.shape[1]);
    const QR f = qr(x);
    EXPECT_LT(max(abs(matmul(f.q, f.r) - x)).item<double>(), tolerance);
    EXPECT_LT(max(abs(matmul(transpose(f.q), f.q) - eye(k))).item<double>(), tolerance);
    EXPECT_EQ(max(abs(tril(f.r, -1))).item<double>(), 0.0);
    const SVD d = svd(x);
    EXPECT_LT(max(abs(matmul(d.u * d.s, d.vt) - x)).item<double>(), tolerance);
    EXPECT_LT(max(abs(matmul(d.vt, transpose(d.vt)) - eye(k))).item<double>(), tolerance);
    EXPECT_LT(max(abs(d.s - svdvals(x))).item<double>(), tolerance);
  }
}

TEST(EngineDecomposition, GatheredMatrixThatDoesNotFitIsRefusedWithSizes) {
  Session session({.devices = "host", .device_memory_bytes = std::size_t{8} << 20, .workers = 1});
  const Array x = random::normal({2000, 2000}, {.chunks = {250, 250}, .seed = 1});
  try {
    session.compute({svd(x).s});
    FAIL();
  } catch (const OutOfMemory& e) {
    EXPECT_EQ(e.budget_bytes, std::size_t{8} << 20);
    EXPECT_GT(e.requested_bytes, std::size_t{32} << 20);
  }
}

TEST(EngineDecomposition, RefusesNaNAndOtherRanks) {
  EXPECT_THROW(svd(ones({3})), InvalidArgument);
  EXPECT_THROW(svd(full({4, 4}, std::nan(""))).s.compute(), LibraryError);
}

}  // namespace
}  // namespace tessera
