#include "tests/cuda/engine_on_cuda.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <span>
#include <stdexcept>

#include "core/scalar_op.hpp"

namespace tessera::testing {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

const DType kReal[] = {DType::kInt8,   DType::kInt16,  DType::kInt32,   DType::kInt64,
                       DType::kUInt8,  DType::kUInt16, DType::kUInt32,  DType::kUInt64,
                       DType::kFloat32, DType::kFloat64};

Array numbers(DType dtype, std::uint64_t seed) {
  return astype(random::integers(0, 100, {37, 53}, {.chunks = {16, 20}, .seed = seed}), dtype);
}

std::vector<Array> every_dtype() {
  std::vector<Array> out;
  for (const DType dtype : kReal) {
    const Array x = numbers(dtype, 1);
    const Array y = numbers(dtype, 2);
    out.push_back(x + y * x - y);
    out.push_back(floor_divide(x, y) + remainder(x, y));
    out.push_back(maximum(x, transpose(reshape(y, {53, 37}))));
    out.push_back(where(x < y, x, y));
    for (const Axes& axis : {Axes(), Axes(0), Axes(1)}) {
      out.push_back(sum(x, {.axis = axis}));
      out.push_back(max(x, {.axis = axis}));
      out.push_back(min(y, {.axis = axis}));
      out.push_back(mean(x, {.axis = axis}));
      out.push_back(count_nonzero(x, {.axis = axis}));
      out.push_back(all(x, {.axis = axis}));
    }
    out.push_back(argmin(x));
    out.push_back(argmax(x, {.axis = 1}));
    out.push_back(cumulative_sum(x, {.axis = 0}));
    out.push_back(matmul(x, transpose(y)));
    out.push_back(sort(rechunk_axes(x, {{1, -1}})));
    for (const DType to : kReal) out.push_back(astype(x * y, to));
  }
  return out;
}

std::vector<Array> complex_numbers() {
  std::vector<Array> out;
  for (const DType dtype : {DType::kComplex64, DType::kComplex128}) {
    const Array re = random::normal({37, 53}, {.chunks = {16, 20}, .seed = 3});
    const Array im = random::normal({37, 53}, {.chunks = {16, 20}, .seed = 4});
    const Array z = astype(re, dtype) + astype(im, dtype) * std::complex<double>(0.0, 1.0);
    out.push_back(z * z / (z + 2.0));
    out.push_back(exp(z) + sin(z) * sqrt(z));
    out.push_back(log(z));
    out.push_back(abs(z) + angle(z));
    out.push_back(sum(z, {.axis = 0}));
    out.push_back(mean(z));
    out.push_back(var(z, {.axis = 1}));
    out.push_back(matmul(z, conj(transpose(z))));
  }
  return out;
}

std::vector<Array> functions() {
  std::vector<Array> out;
  for (const DType dtype : {DType::kFloat32, DType::kFloat64}) {
    const Array x = astype(random::normal({61, 47}, {.chunks = {30, 20}, .seed = 5}), dtype);
    const Array u = astype(random::uniform({61, 47}, {.chunks = {30, 20}, .seed = 6}), dtype);
    for (const Array& f :
         {exp(x), exp2(x), expm1(x), log(u + 0.5), log2(u + 0.5), log10(u + 0.5), log1p(u),
          logaddexp(x, u), sin(x), cos(x), tan(u), asin(u), acos(u), atan(x), atan2(x, u), sinh(x),
          cosh(x), tanh(x), asinh(x), acosh(u + 1.0), atanh(u * 0.9), sqrt(u), cbrt(x), pow(u, x),
          hypot(x, u), copysign(x, u - 0.5), nextafter(x, u), ceil(x), floor(x), round(x * 3.0),
          trunc(x), sign(x), reciprocal(u + 1.0), remainder(x, u + 0.5), fmax(x, u), fmin(x, u)}) {
      out.push_back(f);
    }
    const Array holes = where(u < 0.2, x / 0.0 - x / 0.0, x);
    out.push_back(nansum(holes, {.axis = 0}));
    out.push_back(nanmean(holes));
    out.push_back(nanmax(holes, {.axis = 1}));
    out.push_back(nanstd(holes, {.axis = 0}));
    out.push_back(max(holes, {.axis = 0}));
    out.push_back(argmax(holes));
    out.push_back(isnan(holes));
  }
  return out;
}

std::vector<Array> views_and_shapes() {
  const Array x = random::normal({61, 47}, {.chunks = {30, 20}, .seed = 7});
  const Array z = random::normal({}, {.seed = 8});
  const Array none = random::normal({0, 5}, {.seed = 9});
  return {x[{Slice{3, 50, 2}, Slice{40, 5, -3}}] * 2.0,
          concat({x, x + 1.0}, 1),
          stack({x, transpose(reshape(x, {47, 61}))}, 1),
          roll(x, {3, -5}, Axes{0, 1}),
          flip(x),
          pad(x, PadWidths{{2, 3}, {1, 0}}),
          broadcast_to(expand_dims(x[{4}], 0), {9, 47}) + 1.0,
          take(x, {5, 0, 60, 5}, 0),
          reshape(x, {47, 61}) + 0.0,
          tile(x, {2, 1}),
          diagonal(x),
          tril(x),
          z + 1.0,
          sum(none, {.axis = 0}),
          none * 2.0,
          linspace(0.0, 1.0, 101),
          arange(0, 1000, 7, {.dtype = DType::kInt32})};
}

std::vector<Array> from_the_host() {
  auto values = std::make_shared<std::vector<double>>(83 * 61);
  for (std::size_t i = 0; i < values->size(); ++i)
    (*values)[i] = std::sin(static_cast<double>(i)) * 3.0;
  const std::shared_ptr<const void> owner(values, values->data());
  const Array x = copy_memory(values->data(), DType::kFloat64, {83, 61}, {.chunks = {20, 17}});
  return {x + 1.0, x + transpose(reshape(x, {61, 83})), sum(x, {.axis = 0}), x[{Slice{1, 80, 3}}] * 2.0,
          std(x * transpose(x[{Slice{}, 0}] + 1.0)[{newaxis, Slice{0, 1}}])};
}

void double_it(std::span<const InputBlock> inputs, const OutputBlock& out) {
  const InputBlock& in = inputs[0];
  const auto* from = in.as<double>();
  auto* to = out.as<double>();
  for (std::int64_t i = 0; i < out.shape[0]; ++i) {
    for (std::int64_t j = 0; j < out.shape[1]; ++j)
      to[i * out.strides[0] + j * out.strides[1]] = 2.0 * from[i * in.strides[0] + j * in.strides[1]];
  }
}

std::vector<Array> factors() {
  const Array tall = random::normal({600, 12}, {.chunks = {130, 12}, .seed = 10});
  const Array square = random::normal({40, 40}, {.chunks = {40, 40}, .seed = 11});
  const QR a = qr(tall);
  const SVD b = svd(tall);
  const SVD c = svd(square);
  return {abs(a.r), matmul(a.q, a.r), b.s, matmul(b.u * b.s, b.vt), c.s,
          matmul(c.u * c.s, c.vt)};
}

// The largest difference that is not an error, for values of this size.
double tolerance(DType dtype) {
  return dtype == DType::kFloat32 || dtype == DType::kComplex64 ? 2e-5 : 1e-11;
}

template <typename T>
void check_floats(const HostArray& wanted, const HostArray& got, const std::string& what) {
  const auto a = wanted.span<T>();
  const auto b = got.span<T>();
  double size = 1.0;
  for (const T& value : a) {
    const auto magnitude = static_cast<double>(std::abs(value));
    if (std::isfinite(magnitude)) size = std::max(size, magnitude);
  }
  int shown = 0;
  for (std::size_t i = 0; i < a.size() && shown < 3; ++i) {
    const bool same = a[i] == b[i] || (a[i] != a[i] && b[i] != b[i]) ||
                      static_cast<double>(std::abs(a[i] - b[i])) <= tolerance(wanted.dtype()) * size;
    if (same) continue;
    ++shown;
    ADD_FAILURE() << what << ", element " << i << ": " << a[i] << " on the host, " << b[i];
  }
}

}  // namespace

const std::vector<Workload>& more_workloads() {
  static const std::vector<Workload> all = {
      {"views and shapes", views_and_shapes},
      {"from the host's memory", from_the_host},
      {"functions of the user",
       [] {
         const Array x = random::normal({61, 47}, {.chunks = {30, 20}, .seed = 12});
         const Array y = map_blocks(double_it, {x + 1.0}, {.dtype = DType::kFloat64});
         return std::vector<Array>{y, y + transpose(reshape(x, {47, 61})), sum(y)};
       }},
      {"factorisations", factors, 8 * kMiB},
  };
  return all;
}

const std::vector<Workload>& many_kernels() {
  static const std::vector<Workload> all = {
      {"every dtype", every_dtype}, {"complex numbers", complex_numbers}, {"functions", functions}};
  return all;
}

SessionOptions ample(const std::string& devices) {
  SessionOptions options;
  options.devices = devices;
  options.workers = 2;
  options.device_memory_bytes = 256 * kMiB;
  options.host_memory_bytes = 64 * kMiB;
  options.disk_memory_bytes = 0;
  return options;
}

std::vector<HostArray> run_on(const scheduler::Seams& seams, const SessionOptions& options,
                              const Workload& workload, RunReport* report) {
  Session session = seams.open(options);
  const SessionScope scope(session);
  std::vector<HostArray> out = session.compute(workload.make());
  if (report != nullptr) *report = session.last_run();
  EXPECT_EQ(seams.devices(session).bytes_in_use(), 0U) << workload.name;
  return out;
}

void expect_close(const std::vector<HostArray>& wanted, const std::vector<HostArray>& got,
                  const std::string& what) {
  ASSERT_EQ(wanted.size(), got.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    const std::string where = what + ", result " + std::to_string(i);
    ASSERT_EQ(wanted[i].shape(), got[i].shape()) << where;
    ASSERT_EQ(wanted[i].dtype(), got[i].dtype()) << where;
    switch (wanted[i].dtype()) {
      case DType::kFloat32: check_floats<float>(wanted[i], got[i], where); break;
      case DType::kFloat64: check_floats<double>(wanted[i], got[i], where); break;
      case DType::kComplex64: check_floats<std::complex<float>>(wanted[i], got[i], where); break;
      case DType::kComplex128: check_floats<std::complex<double>>(wanted[i], got[i], where); break;
      default:
        EXPECT_EQ(std::memcmp(wanted[i].data(), got[i].data(), got[i].nbytes()), 0)
            << where << " of " << wanted[i].dtype();
    }
  }
}

namespace {

struct Function {
  const char* name;
  core::ScalarOp op;
  Array (*of)(const Array&, const Array&);
  double bounds[2];  // of CUDA's library, in float32 and float64
};

#define TESSERA_UNARY(op, function)                                                             \
  {                                                                                             \
#function, core::ScalarOp::op, [](const Array& a, const Array&) { return function(a); }, {} \
  }
const std::vector<Function>& bounded_functions() {
  static const std::vector<Function> all = [] {
    std::vector<Function> out{
        TESSERA_UNARY(kCbrt, cbrt),
        TESSERA_UNARY(kExp, exp),
        TESSERA_UNARY(kExp2, exp2),
        TESSERA_UNARY(kExpm1, expm1),
        TESSERA_UNARY(kLog, log),
        TESSERA_UNARY(kLog2, log2),
        TESSERA_UNARY(kLog10, log10),
        TESSERA_UNARY(kLog1p, log1p),
        TESSERA_UNARY(kSin, sin),
        TESSERA_UNARY(kCos, cos),
        TESSERA_UNARY(kTan, tan),
        TESSERA_UNARY(kAsin, asin),
        TESSERA_UNARY(kAcos, acos),
        TESSERA_UNARY(kAtan, atan),
        TESSERA_UNARY(kSinh, sinh),
        TESSERA_UNARY(kCosh, cosh),
        TESSERA_UNARY(kTanh, tanh),
        TESSERA_UNARY(kAsinh, asinh),
        TESSERA_UNARY(kAcosh, acosh),
        TESSERA_UNARY(kAtanh, atanh),
        {"pow", core::ScalarOp::kPow, [](const Array& a, const Array& b) { return pow(a, b); }, {}},
        {"atan2",
         core::ScalarOp::kAtan2,
         [](const Array& a, const Array& b) { return atan2(a, b); },
         {}}};
    const auto set = [&](const std::string& name, double single, double twice) {
      const auto found =
          std::find_if(out.begin(), out.end(), [&](const Function& f) { return f.name == name; });
      if (found == out.end()) throw std::logic_error("no function " + name + " is tried");
      found->bounds[0] = single;
      found->bounds[1] = twice;
    };
#define TESSERA_LIBRARY_BOUND(name, single, twice) set(#name, single, twice);
#include "kernels/cuda/library_bounds.def"
#undef TESSERA_LIBRARY_BOUND
    return out;
  }();
  return all;
}
#undef TESSERA_UNARY

// Numbers of every size, of about one, and whole ones: the same bits on all devices.
Array operand(DType dtype, unsigned seed) {
  std::mt19937_64 random(seed);
  const double range = dtype == DType::kFloat32 ? 140.0 : 1060.0;
  std::uniform_real_distribution<double> exponent(-range, 0.9 * range);
  std::normal_distribution<double> near(0.0, 3.0);
  const auto values = std::make_shared<std::vector<double>>();
  for (int i = 0; i < 30000; ++i) {
    const double small = near(random);
    const double size = std::ldexp(small, static_cast<int>(exponent(random)));
    values->push_back(i % 3 == 0 ? size : i % 3 == 1 ? small : std::round(10.0 * small));
  }
  return astype(
      from_memory(values->data(), DType::kFloat64, {30000}, {.chunks = {7000}, .owner = values}),
      dtype);
}

template <typename T>
void expect_apart(const HostArray& wanted, const HostArray& got, double bound,
                  const std::string& what) {
  int wrong = 0;
  for (std::size_t i = 0; i < wanted.span<T>().size() && wrong < 3; ++i) {
    const T a = wanted.span<T>()[i];
    const T b = got.span<T>()[i];
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    // Within a few units of where numbers end only one may have got there.
    const T size = std::max(std::fabs(a), std::fabs(b));
    const int exponent = std::isfinite(size)
                             ? std::max(std::ilogb(size), std::numeric_limits<T>::min_exponent - 1)
                             : std::numeric_limits<T>::max_exponent - 1;
    const double unit = std::ldexp(1.0, exponent - std::numeric_limits<T>::digits + 1);
    const auto end = [](T x) {
      return std::isinf(x) ? std::copysign(std::numeric_limits<T>::max(), x) : x;
    };
    if (std::fabs(static_cast<double>(end(a)) - static_cast<double>(end(b))) <= bound * unit)
      continue;
    ++wrong;
    ADD_FAILURE() << what << ": element " << i << " is " << b << ", the host's " << a
                  << ", apart by more than " << bound << " units";
  }
}

}  // namespace

void expect_within_bounds(const scheduler::Seams& seams, const std::string& devices, double more) {
  for (const DType dtype : {DType::kFloat32, DType::kFloat64}) {
    const Workload work{"functions", [dtype] {
                          const Array x = operand(dtype, 3);
                          const Array y = operand(dtype, 4);
                          std::vector<Array> out;
                          for (const Function& f : bounded_functions()) out.push_back(f.of(x, y));
                          return out;
                        }};
    const std::vector<HostArray> wanted = run_on(seams, ample("host"), work);
    const std::vector<HostArray> got = run_on(seams, ample(devices), work);
    ASSERT_EQ(got.size(), bounded_functions().size());
    for (std::size_t f = 0; f < got.size(); ++f) {
      const Function& function = bounded_functions()[f];
      const double bound =
          core::info(function.op).ulp + function.bounds[dtype == DType::kFloat64] + 0.5 + more;
      const std::string what = std::string(function.name) + " in " + std::string(name(dtype));
      EXPECT_GT(function.bounds[0], 0.0) << what << " has no bound";
      if (dtype == DType::kFloat32) {
        expect_apart<float>(wanted[f], got[f], bound, what);
      } else {
        expect_apart<double>(wanted[f], got[f], bound, what);
      }
    }
  }
}

void expect_same_bits(const std::vector<HostArray>& wanted, const std::vector<HostArray>& got,
                      const std::string& what) {
  ASSERT_EQ(wanted.size(), got.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(wanted[i].nbytes(), got[i].nbytes()) << what;
    EXPECT_EQ(std::memcmp(wanted[i].data(), got[i].data(), got[i].nbytes()), 0)
        << what << ", result " << i;
  }
}

}  // namespace tessera::testing
