#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

// Hand-written loops that each do the work of one benchmark row and nothing else, on all cores,
// plain row-major arrays and memory whose pages exist already. They are compiled for the machine
// they run on.

namespace tessera::benchmarks::floors {

struct Unmap {
  std::size_t bytes = 0;
  void operator()(double* data) const noexcept;
};
using Buffer = std::unique_ptr<double[], Unmap>;

/// `count` doubles on huge pages that have all been touched.
Buffer make_buffer(std::int64_t count);
/// Threads that every loop runs on: the cores of this process.
int thread_count();
/// Numbers spread evenly over [0, 1), the same every time for the same seed.
void fill(double* x, std::int64_t count, std::uint64_t seed = 0);
/// Largest distance between elements, relative to the largest expected one.
double distance(const double* got, const double* expected, std::int64_t count);

double sum(const double* x, std::int64_t count);
void column_sums(const double* x, std::int64_t rows, std::int64_t cols, double* out);
void column_deviations(const double* x, std::int64_t rows, std::int64_t cols, double* out);
void smallest_and_largest(const double* x, std::int64_t count, double* out);
void add_transpose(const double* x, std::int64_t n, double* out);
/// x + x^T minus the mean of each column of x.
void centred(const double* x, std::int64_t n, double* out);
double sum_of_centred(const double* x, std::int64_t n);
void transpose(const double* x, std::int64_t n, double* out);
void column_running_sums(const double* x, std::int64_t rows, std::int64_t cols, double* out);
/// out: column panels one after the other, each `panel` columns wide.
void column_panels(const double* x, std::int64_t n, std::int64_t panel, double* out);

/// A piece of a matrix around which more elements lie where the flags say so.
struct StencilPiece {
  const double* in;
  std::int64_t in_row;
  double* out;
  std::int64_t out_row;
  std::int64_t rows, cols;
  bool above, below, left, right;
};
/// Mean of a point and its four neighbours, those outside counting as 0.
void stencil_piece(const StencilPiece& piece);
void stencil(const double* x, std::int64_t n, double* out);

/// ((((2 x + 1) x - 3) / 2 + x) x - 0.25) 1.5 + x
void ten_operations(const double* x, std::int64_t count, double* out);
/// (tanh(log(exp(x / 2) + 1) x - 0.25) + x) 2 + 1
void ten_functions(const double* x, std::int64_t count, double* out);
void uniform(std::uint64_t seed, std::int64_t count, double* out);
void normal(std::uint64_t seed, std::int64_t count, double* out);

/// One call, all threads. `transposed`: a b^T.
void product(const double* a, const double* b, std::int64_t n, bool transposed, double* out);
/// Standard deviation of a (a^T + 1) - mean(a); the product goes to `work`.
double product_deviation(const double* a, std::int64_t n, double* work);
/// u diag(s) vt of a tall matrix whose rows are cut into blocks: QR of each, SVD of the factors.
void tall_svd(const double* x, std::int64_t rows, std::int64_t cols, std::int64_t block, double* u,
              double* s, double* vt);

}  // namespace tessera::benchmarks::floors
