// Floors whose loops call functions: vector mathematics of the C library, the engine's own random
// draws in one loop, BLAS and LAPACK.

#include <cblas.h>
#include <lapacke.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <thread>
#include <vector>

#include "benchmarks/floors.hpp"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif
#if defined(__AVX512F__) && defined(__GLIBC__)
// glibc's libmvec, within 4 ulp.
extern "C" {
__m512d _ZGVeN8v_exp(__m512d);
__m512d _ZGVeN8v_log(__m512d);
__m512d _ZGVeN8v_tanh(__m512d);
}
#endif

namespace tessera::benchmarks::floors {
namespace {

#define TESSERA_HD inline
namespace prim {
#if defined(__AVX512F__)
typedef unsigned long long Words __attribute__((vector_size(64)));
inline Words multiply_low32(Words w, unsigned int m) {
  return Words(_mm512_mul_epu32(__m512i(w), _mm512_set1_epi64(m)));
}
#else
using Words = unsigned long long;
#endif
inline unsigned long long multiply_low32(unsigned long long w, unsigned int m) {
  return (w & 0xffffffffull) * m;
}
inline double fma(double a, double b, double c) { return __builtin_fma(a, b, c); }
inline double sqrt(double x) { return std::sqrt(x); }
inline unsigned long long bits(double x) { return __builtin_bit_cast(unsigned long long, x); }
inline double from_bits(unsigned long long x) { return __builtin_bit_cast(double, x); }
inline double unit53_to_double(unsigned long long x) {
  return static_cast<double>(static_cast<long long>(x));
}
inline unsigned long long multiply_high(unsigned long long a, unsigned long long b) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<unsigned long long>(static_cast<Wide>(a) * b >> 64);
}
}  // namespace prim
#include "kernels/philox.hpp"
#include "kernels/sampler_bodies.hpp"

constexpr std::int64_t kPairs = 256;
constexpr std::int64_t kPiece = std::int64_t{1} << 17;  // pairs handed to a thread at a time

template <typename F>
void on_all_threads(std::int64_t count, F work) {
  std::atomic<std::int64_t> next{0};
  const auto loop = [&] {
    for (std::int64_t i = next++; i < count; i = next++) work(i);
  };
  std::vector<std::jthread> helpers;
  for (int t = 1; t < thread_count(); ++t) helpers.emplace_back(loop);
  loop();
}

void stream(double* to, const double* from, std::int64_t count) {
#if defined(__AVX512F__)
  for (; count >= 8; count -= 8, to += 8, from += 8) _mm512_stream_pd(to, _mm512_load_pd(from));
#endif
  std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(double));
}

/// Numbers 2 i and 2 i + 1 from `draw(bits of both)`; `out` is 64-byte aligned.
template <typename Draw>
void random_numbers(std::uint64_t seed, unsigned distribution, std::int64_t count, double* out,
                    Draw draw) {
  const PhiloxKey key = philox_key(seed, distribution);
  const std::int64_t pairs = (count + 1) / 2;
  on_all_threads((pairs + kPiece - 1) / kPiece, [&](std::int64_t piece) {
    alignas(64) unsigned long long even[kPairs], odd[kPairs];
    alignas(64) double line[2 * kPairs];
    const std::int64_t end = std::min(pairs, (piece + 1) * kPiece);
    for (std::int64_t at = piece * kPiece; at < end; at += kPairs) {
      for (std::int64_t i = 0; i < kPairs; ++i) even[i] = static_cast<std::uint64_t>(at + i);
      for (std::size_t i = 0; i < kPairs; i += sizeof(prim::Words) / sizeof(even[0])) {
        prim::Words pair;
        std::memcpy(&pair, even + i, sizeof pair);
        const auto bits = random_pair(key, pair, 0);
        std::memcpy(even + i, &bits.even, sizeof pair);
        std::memcpy(odd + i, &bits.odd, sizeof pair);
      }
      for (std::int64_t i = 0; i < kPairs; ++i) {
        const NormalPair two = draw(even[i], odd[i]);
        line[2 * i] = two.even;
        line[2 * i + 1] = two.odd;
      }
      stream(out + 2 * at, line, std::min(2 * kPairs, count - 2 * at));
    }
  });
}

double one_of_ten(double x) {
  return (std::tanh(std::log(std::exp(x * 0.5) + 1.0) * x - 0.25) + x) * 2.0 + 1.0;
}

}  // namespace

void ten_functions(const double* x, std::int64_t count, double* out) {
  on_all_threads((count + kPiece - 1) / kPiece, [&](std::int64_t piece) {
    std::int64_t i = piece * kPiece;
    const std::int64_t end = std::min(count, i + kPiece);
#if defined(__AVX512F__) && defined(__GLIBC__)
    typedef double Vector __attribute__((vector_size(64)));
    for (; i + 8 <= end; i += 8) {
      const Vector v = _mm512_loadu_pd(x + i);
      const Vector inner = _ZGVeN8v_log(Vector(_ZGVeN8v_exp(v * 0.5)) + 1.0);
      const Vector outer = (Vector(_ZGVeN8v_tanh(inner * v - 0.25)) + v) * 2.0 + 1.0;
      _mm512_stream_pd(out + i, outer);
    }
#endif
    for (; i < end; ++i) out[i] = one_of_ten(x[i]);
  });
}

void uniform(std::uint64_t seed, std::int64_t count, double* out) {
  random_numbers(seed, 0, count, out, [](unsigned long long even, unsigned long long odd) {
    return NormalPair{unit_from_bits(even), unit_from_bits(odd)};
  });
}

void normal(std::uint64_t seed, std::int64_t count, double* out) {
  random_numbers(seed, 1, count, out, [](unsigned long long even, unsigned long long odd) {
    return normal_pair(even, odd);
  });
}

void product(const double* a, const double* b, std::int64_t n, bool transposed, double* out) {
  const int m = static_cast<int>(n);
  openblas_set_num_threads(thread_count());
  cblas_dgemm(CblasRowMajor, CblasNoTrans, transposed ? CblasTrans : CblasNoTrans, m, m, m, 1.0, a,
              m, b, m, 0.0, out, m);
  // What the engine's own calls expect.
  openblas_set_num_threads(1);
}

double product_deviation(const double* a, std::int64_t n, double* work) {
  product(a, a, n, true, work);
  const double mean = sum(a, n * n) / static_cast<double>(n * n);
  std::vector<double> sums(static_cast<std::size_t>(n));
  std::vector<double> squares(static_cast<std::size_t>(n));
  const double shift = work[0];
  on_all_threads(n, [&](std::int64_t r) {
    constexpr std::int64_t kLanes = 32;
    double lanes[3][kLanes] = {};
    for (std::int64_t c = 0; c < n; c += kLanes) {
      for (std::int64_t k = 0; k < kLanes; ++k) lanes[0][k] += a[r * n + c + k];
    }
    double plus = -mean - shift;
    for (const double lane : lanes[0]) plus += lane;
    for (std::int64_t c = 0; c < n; c += kLanes) {
      for (std::int64_t k = 0; k < kLanes; ++k) {
        const double d = work[r * n + c + k] + plus;
        lanes[1][k] += d;
        lanes[2][k] += d * d;
      }
    }
    double s = 0.0;
    double q = 0.0;
    for (std::int64_t k = 0; k < kLanes; ++k) {
      s += lanes[1][k];
      q += lanes[2][k];
    }
    sums[static_cast<std::size_t>(r)] = s;
    squares[static_cast<std::size_t>(r)] = q;
  });
  double s = 0.0;
  double q = 0.0;
  for (std::size_t r = 0; r < sums.size(); ++r) {
    s += sums[r];
    q += squares[r];
  }
  const double count = static_cast<double>(n) * static_cast<double>(n);
  return std::sqrt(q / count - (s / count) * (s / count));
}

void tall_svd(const double* x, std::int64_t rows, std::int64_t cols, std::int64_t block, double* u,
              double* s, double* vt) {
  // A row-major block is its own transpose to LAPACK: x^T = l q, so x = q^T l^T.
  const std::int64_t blocks = rows / block;
  const int n = static_cast<int>(cols);
  const int m = static_cast<int>(block);
  const auto width = static_cast<std::size_t>(cols);
  std::vector<double> factors(static_cast<std::size_t>(blocks) * width * width);
  openblas_set_num_threads(1);
  on_all_threads(blocks, [&](std::int64_t i) {
    double* q = u + i * block * cols;
    std::memcpy(q, x + i * block * cols, static_cast<std::size_t>(block) * width * sizeof(double));
    std::vector<double> tau(width);
    LAPACKE_dgelqf(LAPACK_COL_MAJOR, n, m, q, n, tau.data());
    double* r = factors.data() + static_cast<std::size_t>(i) * width * width;
    for (std::int64_t row = 0; row < cols; ++row) {
      for (std::int64_t c = row; c < cols; ++c) r[row * cols + c] = q[row * cols + c];
    }
    LAPACKE_dorglq(LAPACK_COL_MAJOR, n, m, n, q, n, tau.data());
  });
  std::vector<double> small(factors.size());
  LAPACKE_dgesdd(LAPACK_ROW_MAJOR, 'S', static_cast<int>(blocks) * n, n, factors.data(), n, s,
                 small.data(), n, vt, n);
  on_all_threads(blocks, [&](std::int64_t i) {
    constexpr std::int64_t kRows = 1000;
    std::vector<double> strip(static_cast<std::size_t>(kRows) * width);
    for (std::int64_t r = 0; r < block; r += kRows) {
      double* q = u + (i * block + r) * cols;
      const std::int64_t count = std::min(kRows, block - r);
      cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, static_cast<int>(count), n, n, 1.0, q,
                  n, small.data() + static_cast<std::size_t>(i) * width * width, n, 0.0,
                  strip.data(), n);
      std::memcpy(q, strip.data(), static_cast<std::size_t>(count) * width * sizeof(double));
    }
  });
}

}  // namespace tessera::benchmarks::floors
