#include "kernels/host/gemm_openblas.hpp"

#include <cblas.h>
#include <array>
#include <complex>
#include <cstring>
#include <limits>

#include "core/text.hpp"
#include "kernels/host/blas_threads.hpp"
#include "kernels/host/copy_host.hpp"
#include "kernels/host/gemm_integer.hpp"
#include "kernels/host/matvec.hpp"
#include "kernels/host/scratch_layout.hpp"
#include "tessera/error.hpp"

namespace tessera::kernels::host {
namespace {

// OpenBLAS takes its small-matrix kernels up to this many products (measured: 1e6 for float64 and
// float32 on SkylakeX); below it, operands are given in C order only.
constexpr double kSmallProducts = 1.0e6;

bool uses_blas(DType dtype) { return is_complex(dtype) || is_floating(dtype); }

void check_call(const char* where, DType dtype, std::initializer_list<std::int64_t> extents) {
  if (dtype == DType::kFloat16 || dtype == DType::kBFloat16) {
    throw InvalidArgument(core::text("[", where, "] the dtype must have arithmetic; got ", dtype,
                                     "; try astype(float32)"));
  }
  for (const std::int64_t extent : extents) {
    if (extent < 0 || extent > std::numeric_limits<blasint>::max()) {
      throw InvalidArgument(core::text("[", where, "] extents of a block must be below 2^31; got ",
                                       extent, "; try smaller chunks"));
    }
  }
}

/// An operand as BLAS reads it in row-major order.
struct BlasOperand {
  const std::byte* data;
  CBLAS_TRANSPOSE trans;
  blasint ld;
};

enum class Layout : std::uint8_t { kPlain, kTransposed, kNeither };

/// Whether rows of `inner` elements, `outer_stride` apart, are a matrix with a leading dimension.
/// Strides along an extent of 1 do not count.
bool has_leading_dimension(std::int64_t inner, std::int64_t inner_stride, std::int64_t outer,
                           std::int64_t outer_stride) {
  const bool contiguous = inner == 1 || inner_stride == 1;
  return contiguous && (outer == 1 || (outer_stride >= inner &&
                                       outer_stride <= std::numeric_limits<blasint>::max()));
}

Layout layout_of(std::int64_t rows, std::int64_t cols, const MatrixView& view) {
  if (has_leading_dimension(cols, view.col_stride, rows, view.row_stride)) return Layout::kPlain;
  if (has_leading_dimension(rows, view.row_stride, cols, view.col_stride)) {
    return Layout::kTransposed;
  }
  return Layout::kNeither;
}

bool is_dense(std::int64_t rows, std::int64_t cols, const MatrixView& view) {
  return (cols <= 1 || view.col_stride == 1) && (rows <= 1 || view.row_stride == cols);
}

bool must_copy(std::int64_t rows, std::int64_t cols, const MatrixView& view, bool plain_only) {
  const Layout layout = layout_of(rows, cols, view);
  return plain_only ? layout != Layout::kPlain : layout == Layout::kNeither;
}

MatrixView dense_copy(DType dtype, std::int64_t rows, std::int64_t cols, const MatrixView& view,
                      std::byte* to) {
  const std::array<std::int64_t, 2> shape{rows, cols};
  const std::array<std::int64_t, 2> dense{cols, 1};
  const std::array<std::int64_t, 2> strides{view.row_stride, view.col_stride};
  copy_region({to, dtype, shape, dense}, {view.data, dtype, shape, strides});
  return {to, cols, 1};
}

BlasOperand blas_operand(std::int64_t rows, std::int64_t cols, const MatrixView& view) {
  if (layout_of(rows, cols, view) == Layout::kPlain) {
    return {view.data, CblasNoTrans, static_cast<blasint>(rows == 1 ? cols : view.row_stride)};
  }
  return {view.data, CblasTrans, static_cast<blasint>(cols == 1 ? rows : view.col_stride)};
}

/// Where copies of the operands go; null where none is made.
struct GemmScratch {
  std::byte* a;
  std::byte* b;
};

struct GemmPlan {
  bool copy_a;
  bool copy_b;
};

/// Products with one vector, which our own loop does.
bool is_matvec(DType dtype, std::int64_t m, std::int64_t n) {
  return (m == 1 || n == 1) && (dtype == DType::kFloat32 || dtype == DType::kFloat64);
}

GemmPlan plan_gemm(DType dtype, std::int64_t m, std::int64_t n, std::int64_t k, const MatrixView& a,
                   const MatrixView& b) {
  if (m == 0 || n == 0 || k == 0) return {false, false};
  // Our own loops read a anyhow and b by dense rows.
  if (!uses_blas(dtype)) return {false, !is_dense(k, n, b)};
  if (is_matvec(dtype, m, n)) {
    const bool by_column = n == 1;  // else a row vector on the left
    return {by_column ? must_copy(m, k, a, false) : k > 1 && a.col_stride != 1,
            by_column ? k > 1 && b.row_stride != 1 : must_copy(k, n, b, false)};
  }
  const bool small =
      static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k) <= kSmallProducts;
  return {must_copy(m, k, a, small), must_copy(k, n, b, small)};
}

GemmScratch lay_out(ScratchLayout& layout, DType dtype, std::int64_t m, std::int64_t n,
                    std::int64_t k, const GemmPlan& plan) {
  const auto bytes = [dtype](std::int64_t rows, std::int64_t cols) {
    return static_cast<std::size_t>(rows * cols) * itemsize(dtype);
  };
  GemmScratch scratch{};
  if (plan.copy_a) scratch.a = layout.take<std::byte>(bytes(m, k));
  if (plan.copy_b) scratch.b = layout.take<std::byte>(bytes(k, n));
  return scratch;
}

void call_gemm(DType dtype, std::int64_t m, std::int64_t n, std::int64_t k, const BlasOperand& a,
               const BlasOperand& b, std::byte* c, bool accumulate) {
  const auto rows = static_cast<blasint>(m);
  const auto cols = static_cast<blasint>(n);
  const auto depth = static_cast<blasint>(k);
  const auto run = [&]<typename T>(std::type_identity<T>, auto&& function) {
    const T beta{accumulate ? T{1} : T{0}};
    if constexpr (std::is_floating_point_v<T>) {
      function(CblasRowMajor, a.trans, b.trans, rows, cols, depth, T{1},
               reinterpret_cast<const T*>(a.data), a.ld, reinterpret_cast<const T*>(b.data), b.ld,
               beta, reinterpret_cast<T*>(c), cols);
    } else {
      const T one{1};
      function(CblasRowMajor, a.trans, b.trans, rows, cols, depth, &one, a.data, a.ld, b.data, b.ld,
               &beta, c, cols);
    }
  };
  const SingleThreadedBlas single;
  switch (dtype) {
    case DType::kFloat32:
      return run(std::type_identity<float>{}, cblas_sgemm);
    case DType::kFloat64:
      return run(std::type_identity<double>{}, cblas_dgemm);
    case DType::kComplex64:
      return run(std::type_identity<std::complex<float>>{}, cblas_cgemm);
    default:
      return run(std::type_identity<std::complex<double>>{}, cblas_zgemm);
  }
}

void call_syrk(DType dtype, std::int64_t n, std::int64_t k, const BlasOperand& a, std::byte* c,
               bool accumulate) {
  const auto rows = static_cast<blasint>(n);
  const auto depth = static_cast<blasint>(k);
  const auto run = [&]<typename T>(std::type_identity<T>, auto&& function) {
    const T beta{accumulate ? T{1} : T{0}};
    if constexpr (std::is_floating_point_v<T>) {
      function(CblasRowMajor, CblasLower, a.trans, rows, depth, T{1},
               reinterpret_cast<const T*>(a.data), a.ld, beta, reinterpret_cast<T*>(c), rows);
    } else {
      const T one{1};
      function(CblasRowMajor, CblasLower, a.trans, rows, depth, &one, a.data, a.ld, &beta, c, rows);
    }
  };
  const SingleThreadedBlas single;
  switch (dtype) {
    case DType::kFloat32:
      return run(std::type_identity<float>{}, cblas_ssyrk);
    case DType::kFloat64:
      return run(std::type_identity<double>{}, cblas_dsyrk);
    case DType::kComplex64:
      return run(std::type_identity<std::complex<float>>{}, cblas_csyrk);
    default:
      return run(std::type_identity<std::complex<double>>{}, cblas_zsyrk);
  }
}

/// Copies the lower triangle to the upper one, square by square, so that lines are reused.
void mirror_lower(DType dtype, std::int64_t n, std::byte* c) {
  constexpr std::int64_t kSquare = 64;
  const auto item = static_cast<std::int64_t>(itemsize(dtype));
  for (std::int64_t i = 0; i < n; i += kSquare) {
    const std::int64_t rows = std::min(kSquare, n - i);
    for (std::int64_t j = 0; j < i; j += kSquare) {
      const std::array<std::int64_t, 2> shape{kSquare, rows};
      const std::array<std::int64_t, 2> upper{n, 1};
      const std::array<std::int64_t, 2> lower{1, n};
      copy_region({c + (j * n + i) * item, dtype, shape, upper},
                  {c + (i * n + j) * item, dtype, shape, lower});
    }
    for (std::int64_t r = i; r < i + rows; ++r) {
      for (std::int64_t s = i; s < r; ++s) {
        std::memcpy(c + (s * n + r) * item, c + (r * n + s) * item, static_cast<std::size_t>(item));
      }
    }
  }
}

void set_zero(DType dtype, std::int64_t m, std::int64_t n, std::byte* c) {
  std::memset(c, 0, static_cast<std::size_t>(m * n) * itemsize(dtype));
}

}  // namespace

std::size_t gemm_scratch_bytes(DType dtype, std::int64_t m, std::int64_t n, std::int64_t k,
                               const MatrixView& a, const MatrixView& b) {
  ScratchLayout layout;
  lay_out(layout, dtype, m, n, k, plan_gemm(dtype, m, n, k, a, b));
  return layout.bytes();
}

void gemm(DType dtype, std::int64_t m, std::int64_t n, std::int64_t k, const MatrixView& a,
          const MatrixView& b, std::byte* c, bool accumulate, std::span<std::byte> scratch) {
  check_call("gemm", dtype, {m, n, k});
  if (m == 0 || n == 0) return;
  if (k == 0 || !uses_blas(dtype)) {
    if (!accumulate) set_zero(dtype, m, n, c);
    if (k == 0) return;
  }
  ScratchLayout layout(scratch);
  const GemmPlan plan = plan_gemm(dtype, m, n, k, a, b);
  const GemmScratch copies = lay_out(layout, dtype, m, n, k, plan);
  layout.check("gemm");
  const MatrixView left = plan.copy_a ? dense_copy(dtype, m, k, a, copies.a) : a;
  const MatrixView right = plan.copy_b ? dense_copy(dtype, k, n, b, copies.b) : b;
  if (!uses_blas(dtype)) {
    gemm_integer(dtype, m, n, k, left.data, left.row_stride, left.col_stride, right.data, c);
    return;
  }
  if (is_matvec(dtype, m, n)) {
    // The matrix is a, or b transposed.
    n == 1 ? matvec(dtype, m, k, left.data, left.row_stride, left.col_stride, right.data, c,
                    accumulate)
           : matvec(dtype, n, k, right.data, right.col_stride, right.row_stride, left.data, c,
                    accumulate);
    return;
  }
  call_gemm(dtype, m, n, k, blas_operand(m, k, left), blas_operand(k, n, right), c, accumulate);
}

std::size_t gemm_self_transposed_scratch_bytes(DType dtype, std::int64_t n, std::int64_t k,
                                               const MatrixView& a) {
  ScratchLayout layout;
  lay_out(layout, dtype, n, n, k, {must_copy(n, k, a, false), false});
  return layout.bytes();
}

void gemm_self_transposed(DType dtype, std::int64_t n, std::int64_t k, const MatrixView& a,
                          std::byte* c, bool accumulate, std::span<std::byte> scratch) {
  check_call("gemm_self_transposed", dtype, {n, k});
  if (!uses_blas(dtype)) {
    throw InvalidArgument(core::text("[gemm_self_transposed] the dtype must be floating or ",
                                     "complex; got ", dtype, "; try gemm"));
  }
  if (n == 0) return;
  if (k == 0) {
    if (!accumulate) set_zero(dtype, n, n, c);
    return;
  }
  ScratchLayout layout(scratch);
  const GemmPlan plan{must_copy(n, k, a, false), false};
  const GemmScratch copies = lay_out(layout, dtype, n, n, k, plan);
  layout.check("gemm_self_transposed");
  const MatrixView left = plan.copy_a ? dense_copy(dtype, n, k, a, copies.a) : a;
  call_syrk(dtype, n, k, blas_operand(n, k, left), c, accumulate);
  mirror_lower(dtype, n, c);
}

std::string blas_info() {
  set_blas_threads_once();
  return core::text(openblas_get_config(), ", core ", openblas_get_corename());
}

}  // namespace tessera::kernels::host
