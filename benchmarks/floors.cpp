#include "benchmarks/floors.hpp"

#include "core/environment.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#if defined(__AVX__)
#include <immintrin.h>
#endif

namespace tessera::benchmarks::floors {
namespace {

constexpr std::int64_t kPiece = std::int64_t{1} << 18;  // elements handed to a thread at a time
constexpr std::int64_t kStrip = 512;  // elements that stay in the first-level cache
constexpr std::int64_t kTile = 64;

// The target's own registers: GCC works on wider vectors one number at a time. TESSERA_ZIP_LOW and
// TESSERA_ZIP_HIGH take numbers of two vectors in turns.
#if defined(__AVX512F__)
typedef double Vector __attribute__((vector_size(64)));
#define TESSERA_ZIP_LOW(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define TESSERA_ZIP_HIGH(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#elif defined(__AVX__)
typedef double Vector __attribute__((vector_size(32)));
#define TESSERA_ZIP_LOW(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define TESSERA_ZIP_HIGH(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#else
typedef double Vector __attribute__((vector_size(16)));
#define TESSERA_ZIP_LOW(a, b) __builtin_shufflevector(a, b, 0, 2)
#define TESSERA_ZIP_HIGH(a, b) __builtin_shufflevector(a, b, 1, 3)
#endif
constexpr std::int64_t kLanes = sizeof(Vector) / sizeof(double);

Vector load(const double* p) {
  Vector v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

/// Writes past the caches where `to` is aligned for it, or copies.
void stream(double* to, const double* from, std::int64_t count) {
#if defined(__AVX__)
  if (reinterpret_cast<std::uintptr_t>(to) % sizeof(Vector) == 0) {
    std::int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
#if defined(__AVX512F__)
      _mm512_stream_pd(to + i, _mm512_loadu_pd(from + i));
#else
      _mm256_stream_pd(to + i, _mm256_loadu_pd(from + i));
#endif
    }
    to += i;
    from += i;
    count -= i;
  }
#endif
  std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(double));
}

/// work(i) for all i below `count`, on all threads.
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

/// work(begin, end) for stretches of `count` elements.
template <typename F>
void in_pieces(std::int64_t count, std::int64_t piece, F work) {
  on_all_threads((count + piece - 1) / piece,
                 [&](std::int64_t i) { work(i * piece, std::min(count, (i + 1) * piece)); });
}

double total(Vector v) {
  double out = 0.0;
  for (int i = 0; i < kLanes; ++i) out += v[i];
  return out;
}

double piece_sum(const double* x, std::int64_t count) {
  Vector lanes[8] = {};
  std::int64_t i = 0;
  for (; i + 8 * kLanes <= count; i += 8 * kLanes) {
    for (int k = 0; k < 8; ++k) lanes[k] += load(x + i + k * kLanes);
  }
  for (int k = 1; k < 8; ++k) lanes[0] += lanes[k];
  double out = total(lanes[0]);
  for (; i < count; ++i) out += x[i];
  return out;
}

/// out[c * 64 + r] = x[r * row + c] for a tile of kTile x kTile; asks for the tile at `next`.
void transpose_tile(const double* x, std::int64_t row, double* out, const double* next) {
  for (std::int64_t r = 0; r < kTile; r += kLanes) {
    for (std::int64_t c = 0; c < kTile; c += kLanes) {
      Vector rows[kLanes];
      for (int i = 0; i < kLanes; ++i) __builtin_prefetch(next + (r + i) * row + c, 0, 2);
      for (int i = 0; i < kLanes; ++i) rows[i] = load(x + (r + i) * row + c);
      for (int round = 1; round < kLanes; round *= 2) {
        Vector mixed[kLanes];
        for (int i = 0; i < kLanes / 2; ++i) {
          mixed[2 * i] = TESSERA_ZIP_LOW(rows[i], rows[i + kLanes / 2]);
          mixed[2 * i + 1] = TESSERA_ZIP_HIGH(rows[i], rows[i + kLanes / 2]);
        }
        for (int i = 0; i < kLanes; ++i) rows[i] = mixed[i];
      }
      for (int i = 0; i < kLanes; ++i)
        std::memcpy(out + (c + i) * kTile + r, &rows[i], sizeof(Vector));
    }
  }
}

/// work(i, j, next) for tiles with i <= j, so that both of a pair are in the cache together; the
/// pair after it is (i, next). A thread takes groups of neighbouring pairs: their rows share pages.
template <typename F>
void tile_pairs(std::int64_t n, F work) {
  constexpr std::int64_t kGroup = 32;
  const std::int64_t tiles = n / kTile;
  const std::int64_t groups = (tiles + kGroup - 1) / kGroup;
  on_all_threads(groups * groups, [&](std::int64_t at) {
    const std::int64_t gi = at / groups;
    const std::int64_t gj = at % groups;
    if (gi > gj) return;
    for (std::int64_t i = gi * kGroup; i < std::min(tiles, (gi + 1) * kGroup); ++i) {
      for (std::int64_t j = std::max(i, gj * kGroup); j < std::min(tiles, (gj + 1) * kGroup); ++j) {
        work(i * kTile, j * kTile, std::min(j + 1, tiles - 1) * kTile);
      }
    }
  });
}

struct Moments {
  explicit Moments(std::int64_t cols)
      : sum(static_cast<std::size_t>(cols)), square(static_cast<std::size_t>(cols)) {}
  std::vector<double> sum, square;
};

/// Sums, and sums of squares where asked for, of each column's distances from its first element.
template <bool kSquares>
Moments column_moments(const double* x, std::int64_t rows, std::int64_t cols, const double* shift) {
  constexpr std::int64_t kRows = 64;
  Moments all(cols);
  std::mutex mutex;
  std::atomic<std::int64_t> next{0};
  const auto loop = [&] {
    Moments mine(cols);
    for (std::int64_t r = next.fetch_add(kRows); r < rows; r = next.fetch_add(kRows)) {
      for (std::int64_t c = 0; c < cols; c += kStrip) {
        const std::int64_t width = std::min(kStrip, cols - c);
        for (std::int64_t i = r; i < std::min(rows, r + kRows); i += 4) {
          const double* row = x + i * cols + c;
          double* sums = mine.sum.data() + c;
          double* squares = mine.square.data() + c;
          for (std::int64_t k = 0; k < width; ++k) {
            const double a = row[k] - shift[c + k];
            const double b = row[k + cols] - shift[c + k];
            const double d = row[k + 2 * cols] - shift[c + k];
            const double e = row[k + 3 * cols] - shift[c + k];
            sums[k] += (a + b) + (d + e);
            if constexpr (kSquares) squares[k] += (a * a + b * b) + (d * d + e * e);
          }
        }
      }
    }
    const std::lock_guard lock(mutex);
    for (std::size_t c = 0; c < all.sum.size(); ++c) {
      all.sum[c] += mine.sum[c];
      all.square[c] += mine.square[c];
    }
  };
  {
    std::vector<std::jthread> helpers;
    for (int t = 1; t < thread_count(); ++t) helpers.emplace_back(loop);
    loop();
  }
  return all;
}

}  // namespace

void Unmap::operator()(double* data) const noexcept { ::munmap(data, bytes); }

Buffer make_buffer(std::int64_t count) {
  constexpr std::size_t kHuge = std::size_t{2} << 20;
  const std::size_t bytes =
      (static_cast<std::size_t>(count) * sizeof(double) + kHuge - 1) / kHuge * kHuge;
  void* raw =
      ::mmap(nullptr, bytes + kHuge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) throw std::bad_alloc();
  const auto address = reinterpret_cast<std::uintptr_t>(raw);
  const std::size_t head = (kHuge - address % kHuge) % kHuge;
  auto* data = static_cast<std::byte*>(raw) + head;
  if (head > 0) ::munmap(raw, head);
  if (head < kHuge) ::munmap(data + bytes, kHuge - head);
  ::madvise(data, bytes, MADV_HUGEPAGE);
  in_pieces(static_cast<std::int64_t>(bytes), static_cast<std::int64_t>(kHuge),
            [&](std::int64_t begin, std::int64_t end) {
              std::memset(data + begin, 0, static_cast<std::size_t>(end - begin));
            });
  return Buffer(reinterpret_cast<double*>(data), Unmap{bytes});
}

int thread_count() {
  static const int kCount = core::available_cores();
  return kCount;
}

void fill(double* x, std::int64_t count, std::uint64_t seed) {
  const std::uint64_t first = 0x9e3779b97f4a7c15u + seed * 0xd1342543de82ef95u;
  in_pieces(count, kPiece, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      std::uint64_t h = static_cast<std::uint64_t>(i) + first;
      h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9u;
      h = (h ^ (h >> 27)) * 0x94d049bb133111ebu;
      x[i] = static_cast<double>((h ^ (h >> 31)) >> 11) * 0x1p-53;
    }
  });
}

double distance(const double* got, const double* expected, std::int64_t count) {
  double furthest = 0.0;
  double largest = std::numeric_limits<double>::min();
  bool ordered = true;
  std::mutex mutex;
  in_pieces(count, kPiece, [&](std::int64_t begin, std::int64_t end) {
    double far = 0.0;
    double large = 0.0;
    bool all = true;
    for (std::int64_t i = begin; i < end; ++i) {
      const double d = std::abs(got[i] - expected[i]);
      all = all && d == d;
      far = std::max(far, d);
      large = std::max(large, std::abs(expected[i]));
    }
    const std::lock_guard lock(mutex);
    furthest = std::max(furthest, far);
    largest = std::max(largest, large);
    ordered = ordered && all;
  });
  return ordered ? furthest / largest : std::numeric_limits<double>::infinity();
}

double sum(const double* x, std::int64_t count) {
  std::vector<double> parts(static_cast<std::size_t>((count + kPiece - 1) / kPiece));
  in_pieces(count, kPiece, [&](std::int64_t begin, std::int64_t end) {
    parts[static_cast<std::size_t>(begin / kPiece)] = piece_sum(x + begin, end - begin);
  });
  double out = 0.0;
  for (const double part : parts) out += part;
  return out;
}

void column_sums(const double* x, std::int64_t rows, std::int64_t cols, double* out) {
  const std::vector<double> zero(static_cast<std::size_t>(cols));
  const Moments moments = column_moments<false>(x, rows, cols, zero.data());
  std::copy(moments.sum.begin(), moments.sum.end(), out);
}

void column_deviations(const double* x, std::int64_t rows, std::int64_t cols, double* out) {
  const Moments moments = column_moments<true>(x, rows, cols, x);
  const auto n = static_cast<double>(rows);
  for (std::int64_t c = 0; c < cols; ++c) {
    const double mean = moments.sum[static_cast<std::size_t>(c)] / n;
    out[c] = std::sqrt(moments.square[static_cast<std::size_t>(c)] / n - mean * mean);
  }
}

void smallest_and_largest(const double* x, std::int64_t count, double* out) {
  std::mutex mutex;
  out[0] = std::numeric_limits<double>::infinity();
  out[1] = -out[0];
  in_pieces(count, kPiece, [&](std::int64_t begin, std::int64_t end) {
    Vector low[4], high[4];
    for (int k = 0; k < 4; ++k) low[k] = high[k] = load(x + begin);
    for (std::int64_t i = begin; i + 4 * kLanes <= end; i += 4 * kLanes) {
      for (int k = 0; k < 4; ++k) {
        const Vector v = load(x + i + k * kLanes);
        low[k] = v < low[k] ? v : low[k];
        high[k] = v > high[k] ? v : high[k];
      }
    }
    double smallest = x[end - 1];
    double largest = x[end - 1];
    for (int k = 0; k < 4 * kLanes; ++k) {
      smallest = std::min(smallest, low[k / kLanes][k % kLanes]);
      largest = std::max(largest, high[k / kLanes][k % kLanes]);
    }
    const std::lock_guard lock(mutex);
    out[0] = std::min(out[0], smallest);
    out[1] = std::max(out[1], largest);
  });
}

namespace {

/// x + x^T, minus `mean` along every row where there is one.
template <bool kMean>
void add_transpose(const double* x, const double* mean, std::int64_t n, double* out) {
  tile_pairs(n, [&](std::int64_t i, std::int64_t j, std::int64_t next) {
    alignas(64) double turned[2][kTile * kTile];
    alignas(64) double line[kTile];
    transpose_tile(x + j * n + i, n, turned[0], x + next * n + i);
    transpose_tile(x + i * n + j, n, turned[1], x + i * n + next);
    for (int side = 0; side < (i == j ? 1 : 2); ++side) {
      const std::int64_t at = side == 0 ? i * n + j : j * n + i;
      for (std::int64_t r = 0; r < kTile; ++r) {
        for (std::int64_t c = 0; c < kTile; ++c) {
          line[c] = x[at + r * n + c] + turned[side][r * kTile + c];
          if constexpr (kMean) line[c] -= mean[at % n + c];
        }
        stream(out + at + r * n, line, kTile);
      }
    }
  });
}

}  // namespace

void add_transpose(const double* x, std::int64_t n, double* out) {
  add_transpose<false>(x, nullptr, n, out);
}

void centred(const double* x, std::int64_t n, double* out) {
  std::vector<double> mean(static_cast<std::size_t>(n));
  column_sums(x, n, n, mean.data());
  for (double& m : mean) m /= static_cast<double>(n);
  add_transpose<true>(x, mean.data(), n, out);
}

double sum_of_centred(const double* x, std::int64_t n) {
  std::vector<double> mean(static_cast<std::size_t>(n));
  column_sums(x, n, n, mean.data());
  for (double& m : mean) m /= static_cast<double>(n);
  double out = 0.0;
  std::mutex mutex;
  tile_pairs(n, [&](std::int64_t i, std::int64_t j, std::int64_t next) {
    alignas(64) double turned[kTile * kTile];
    transpose_tile(x + j * n + i, n, turned, x + next * n + i);
    Vector sums[kTile / kLanes] = {};
    for (std::int64_t r = 0; r < kTile; ++r) {
      const Vector other = Vector{} + mean[static_cast<std::size_t>(i + r)];
      for (std::int64_t c = 0; c < kTile; c += kLanes) {
        __builtin_prefetch(x + (i + r) * n + next + c, 0, 2);
        // The sum and its mirror image, each with the mean of its own column.
        const Vector both = load(x + (i + r) * n + j + c) + load(turned + r * kTile + c);
        Vector& s = sums[c / kLanes];
        s += both - load(mean.data() + j + c);
        if (i != j) s += both - other;
      }
    }
    for (std::int64_t c = 1; c < kTile / kLanes; ++c) sums[0] += sums[c];
    const double part = total(sums[0]);
    const std::lock_guard lock(mutex);
    out += part;
  });
  return out;
}

void transpose(const double* x, std::int64_t n, double* out) {
  tile_pairs(n, [&](std::int64_t i, std::int64_t j, std::int64_t next) {
    alignas(64) double turned[kTile * kTile];
    for (int side = 0; side < (i == j ? 1 : 2); ++side) {
      transpose_tile(x + (side == 0 ? j * n + i : i * n + j), n, turned,
                     x + (side == 0 ? next * n + i : i * n + next));
      double* to = out + (side == 0 ? i * n + j : j * n + i);
      for (std::int64_t r = 0; r < kTile; ++r) stream(to + r * n, turned + r * kTile, kTile);
    }
  });
}

void column_running_sums(const double* x, std::int64_t rows, std::int64_t cols, double* out) {
  in_pieces(cols, kStrip, [&](std::int64_t begin, std::int64_t end) {
    alignas(64) double sums[kStrip] = {};
    for (std::int64_t r = 0; r < rows; ++r) {
      const double* row = x + r * cols + begin;
      for (std::int64_t c = 0; c < end - begin; ++c) sums[c] += row[c];
      stream(out + r * cols + begin, sums, end - begin);
    }
  });
}

void column_panels(const double* x, std::int64_t n, std::int64_t panel, double* out) {
  in_pieces(n, 8, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      for (std::int64_t c = 0; c < n; c += panel)
        stream(out + c * n + r * panel, x + r * n + c, panel);
    }
  });
}

void stencil_piece(const StencilPiece& p) {
  alignas(64) static constexpr double kZeros[kStrip] = {};
  for (std::int64_t r = 0; r < p.rows; ++r) {
    for (std::int64_t begin = 0; begin < p.cols; begin += kStrip) {
      alignas(64) double line[kStrip];
      const std::int64_t width = std::min(kStrip, p.cols - begin);
      const double* x = p.in + r * p.in_row + begin;
      const double* up = r > 0 || p.above ? x - p.in_row : kZeros;
      const double* down = r + 1 < p.rows || p.below ? x + p.in_row : kZeros;
      const auto at = [&](std::int64_t c, double west, double east) {
        line[c] = ((up[c] + down[c]) + (west + east) + x[c]) * 0.2;
      };
      const double first = begin > 0 || p.left ? x[-1] : 0.0;
      const double last = begin + width < p.cols || p.right ? x[width] : 0.0;
      at(0, first, width > 1 ? x[1] : last);
      for (std::int64_t c = 1; c + 1 < width; ++c) at(c, x[c - 1], x[c + 1]);
      if (width > 1) at(width - 1, x[width - 2], last);
      stream(p.out + r * p.out_row + begin, line, width);
    }
  }
}

void stencil(const double* x, std::int64_t n, double* out) {
  in_pieces(n, 32, [&](std::int64_t begin, std::int64_t end) {
    stencil_piece(
        {x + begin * n, n, out + begin * n, n, end - begin, n, begin > 0, end < n, false, false});
  });
}

void ten_operations(const double* x, std::int64_t count, double* out) {
  in_pieces(count, kPiece, [&](std::int64_t begin, std::int64_t end) {
    alignas(64) double line[kStrip];
    for (; begin < end; begin += kStrip) {
      const std::int64_t width = std::min(kStrip, end - begin);
      for (std::int64_t i = 0; i < width; ++i) {
        const double v = x[begin + i];
        line[i] = ((((v * 2.0 + 1.0) * v - 3.0) * 0.5 + v) * v - 0.25) * 1.5 + v;
      }
      stream(out + begin, line, width);
    }
  });
}

}  // namespace tessera::benchmarks::floors
