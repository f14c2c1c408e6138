#include "kernels/host/factor_lapacke.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <limits>

#include "core/text.hpp"
#include "kernels/host/blas_threads.hpp"
#include "kernels/host/copy_host.hpp"
#include "kernels/host/lapack_routines.hpp"
#include "kernels/host/scratch_layout.hpp"
#include "tessera/chunk_grid.hpp"
#include "tessera/error.hpp"

namespace tessera::kernels::host {
namespace {

std::atomic<LapackInfoHook> info_hook{nullptr};

lapack_int observed_info(const char* routine, lapack_int info) {
  const LapackInfoHook hook = info_hook.load(std::memory_order_relaxed);
  return hook == nullptr ? info : hook(routine, info);
}

void check_info(const char* where, const char* routine, lapack_int info) {
  if (info == 0) return;
  throw LibraryError(core::text("[", where, "] LAPACK's ", routine, " must succeed; got info ",
                                info, info > 0 ? " (no convergence)" : " (illegal argument)",
                                "; try scaling the matrix, or another chunking"));
}

void check_matrix(const char* where, DType dtype, std::int64_t m, std::int64_t n) {
  const bool supported = dtype == DType::kFloat32 || dtype == DType::kFloat64 || is_complex(dtype);
  if (!supported) {
    throw InvalidArgument(core::text("[", where, "] the dtype must be float32, float64, complex64 ",
                                     "or complex128; got ", dtype, "; try astype(float64)"));
  }
  if (std::max(m, n) > std::numeric_limits<lapack_int>::max()) {
    throw InvalidArgument(core::text("[", where, "] extents of a block must be below 2^31; got (",
                                     m, ", ", n, "); try smaller chunks"));
  }
}

void check_output(const char* where, const char* what, ConstBlockView view, const Shape& shape,
                  DType dtype) {
  if (view.dtype == dtype && std::ranges::equal(view.shape, shape)) return;
  throw InvalidArgument(core::text("[", where, "] ", what, " must have shape ", to_string(shape),
                                   " and dtype ", dtype, "; got ",
                                   to_string(Shape(view.shape.begin(), view.shape.end())), " and ",
                                   view.dtype, "; try allocating it so"));
}

void check_input(const char* where, const ConstBlockView& a) {
  if (a.shape.size() == 2) return;
  throw InvalidArgument(core::text("[", where, "] the input must be a matrix; got ", a.shape.size(),
                                   " axes; try reshape"));
}

template <typename F>
decltype(auto) visit_lapack(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kFloat32:
      return f.template operator()<float>();
    case DType::kComplex64:
      return f.template operator()<std::complex<float>>();
    case DType::kComplex128:
      return f.template operator()<std::complex<double>>();
    default:
      return f.template operator()<double>();
  }
}

/// Elements of a workspace that a query reported; float32 cannot hold every such number exactly.
template <typename T>
std::int64_t work_size(const char* where, const T& reported) {
  const double size = static_cast<double>(std::real(reported));
  const double exact = sizeof(std::real(reported)) == 4 ? std::ceil(size * (1 + 0x1p-22)) : size;
  if (exact > std::numeric_limits<lapack_int>::max()) {
    throw InvalidArgument(core::text("[", where, "] LAPACK's workspace must be below 2^31 ",
                                     "elements; got ", exact, "; try smaller chunks"));
  }
  return std::max<std::int64_t>(static_cast<std::int64_t>(exact), 1);
}

/// A view of a column-major matrix, or of its leading rows or columns.
struct ColumnMajor {
  std::array<std::int64_t, 2> shape;
  std::array<std::int64_t, 2> strides;
  ColumnMajor(std::int64_t rows, std::int64_t cols, std::int64_t ld)
      : shape{rows, cols}, strides{1, ld} {}
  BlockView at(void* data, DType dtype) const {
    return {static_cast<std::byte*>(data), dtype, shape, strides};
  }
};

std::size_t product(std::int64_t a, std::int64_t b) { return static_cast<std::size_t>(a * b); }

template <typename T>
struct QrScratch {
  T* a;
  T* tau;
  T* work;
  std::int64_t work_size;
};

template <typename T>
QrScratch<T> lay_out_qr(ScratchLayout& layout, std::int64_t m, std::int64_t n, bool with_q) {
  const std::int64_t k = std::min(m, n);
  const auto rows = static_cast<lapack_int>(m);
  const auto cols = static_cast<lapack_int>(n);
  T size{};
  Lapack<T>::geqrf(rows, cols, nullptr, nullptr, &size, -1);
  std::int64_t most = work_size("qr", size);
  if (with_q) {
    Lapack<T>::orgqr(rows, static_cast<lapack_int>(k), nullptr, nullptr, &size, -1);
    most = std::max(most, work_size("qr", size));
  }
  QrScratch<T> scratch{};
  scratch.work_size = most;
  scratch.a = layout.take<T>(product(m, n));
  scratch.tau = layout.take<T>(static_cast<std::size_t>(k));
  scratch.work = layout.take<T>(static_cast<std::size_t>(most));
  return scratch;
}

template <typename T>
void write_r(const T* factored, std::int64_t m, BlockView r) {
  const std::int64_t k = r.shape[0];
  const std::int64_t n = r.shape[1];
  T* out = reinterpret_cast<T*>(r.data);
  for (std::int64_t i = 0; i < k; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      out[i * r.strides[0] + j * r.strides[1]] = j < i ? T{0} : factored[i + j * m];
    }
  }
}

template <typename T>
void qr_of(const ConstBlockView& a, const BlockView* q, BlockView r, int threads,
           const QrScratch<T>& scratch) {
  const std::int64_t m = a.shape[0];
  const std::int64_t n = a.shape[1];
  const std::int64_t k = std::min(m, n);
  const auto rows = static_cast<lapack_int>(m);
  const auto lwork = static_cast<lapack_int>(scratch.work_size);
  copy_region(ColumnMajor(m, n, m).at(scratch.a, a.dtype), a);
  const auto check = [](const char* routine, lapack_int info) {
    check_info("qr", routine, observed_info(routine, info));
  };
  {
    const WideBlas wide(threads);
    check("geqrf", Lapack<T>::geqrf(rows, static_cast<lapack_int>(n), scratch.a, scratch.tau,
                                    scratch.work, lwork));
    write_r(scratch.a, m, r);
    if (q == nullptr) return;
    check("orgqr", Lapack<T>::orgqr(rows, static_cast<lapack_int>(k), scratch.a, scratch.tau,
                                    scratch.work, lwork));
  }
  copy_region(*q, ColumnMajor(m, k, m).at(scratch.a, a.dtype));
}

template <typename T>
struct SvdScratch {
  using Real = typename Lapack<T>::Real;
  T* a;
  T* u;
  T* vt;
  Real* s;
  T* work;
  std::int64_t work_size;
  Real* rwork;
  lapack_int* iwork;
};

template <typename T>
std::int64_t svd_work_size(std::int64_t m, std::int64_t n, char job) {
  const auto rows = static_cast<lapack_int>(m);
  const auto cols = static_cast<lapack_int>(n);
  T size{};
  typename Lapack<T>::Real rwork{};
  lapack_int iwork{};
  Lapack<T>::gesdd(job, rows, cols, nullptr, nullptr, nullptr, nullptr, &size, -1, &rwork, &iwork);
  const std::int64_t divide = work_size("svd", size);
  Lapack<T>::gesvd(job, rows, cols, nullptr, nullptr, nullptr, nullptr, &size, -1, &rwork);
  return std::max(divide, work_size("svd", size));
}

template <typename T>
SvdScratch<T> lay_out_svd(ScratchLayout& layout, std::int64_t m, std::int64_t n,
                          bool with_vectors) {
  const std::int64_t k = std::min(m, n);
  SvdScratch<T> scratch{};
  scratch.work_size = svd_work_size<T>(m, n, with_vectors ? 'S' : 'N');
  scratch.a = layout.take<T>(product(m, n));
  if (with_vectors) {
    scratch.u = layout.take<T>(product(m, k));
    scratch.vt = layout.take<T>(product(k, n));
  }
  scratch.s = layout.take<typename Lapack<T>::Real>(static_cast<std::size_t>(k));
  scratch.work = layout.take<T>(static_cast<std::size_t>(scratch.work_size));
  if constexpr (!std::is_floating_point_v<T>) {
    // The sizes that LAPACK's documentation of cgesdd gives.
    const std::int64_t big = std::max(m, n);
    const std::int64_t vectors = std::max(5 * k * k + 5 * k, 2 * big * k + 2 * k * k + k);
    scratch.rwork = layout.take<typename Lapack<T>::Real>(
        static_cast<std::size_t>(with_vectors ? vectors : 7 * k));
  }
  scratch.iwork = layout.take<lapack_int>(product(8, k));
  return scratch;
}

template <typename T>
void check_finite(const T* a, std::size_t count) {
  using Real = typename Lapack<T>::Real;
  const Real* parts = reinterpret_cast<const Real*>(a);
  // NaN and infinity are what a product with zero does not turn into zero.
  Real sum{0};
  for (std::size_t i = 0; i < count * (sizeof(T) / sizeof(Real)); ++i) sum += parts[i] * Real{0};
  if (sum == Real{0}) return;
  throw LibraryError(
      "[svd] the matrix must be finite, or the iteration does not converge; got NaN or infinity; "
      "try nan_to_num");
}

template <typename T>
void svd_of(const ConstBlockView& a, const BlockView* u, BlockView s, const BlockView* vt,
            int threads, const SvdScratch<T>& scratch) {
  const std::int64_t m = a.shape[0];
  const std::int64_t n = a.shape[1];
  const std::int64_t k = std::min(m, n);
  const char job = u != nullptr ? 'S' : 'N';
  const auto rows = static_cast<lapack_int>(m);
  const auto cols = static_cast<lapack_int>(n);
  const auto lwork = static_cast<lapack_int>(scratch.work_size);
  const ColumnMajor whole(m, n, m);
  copy_region(whole.at(scratch.a, a.dtype), a);
  check_finite(scratch.a, product(m, n));
  {
    const WideBlas wide(threads);
    const SvdScratch<T>& w = scratch;
    lapack_int info = observed_info("gesdd", Lapack<T>::gesdd(job, rows, cols, w.a, w.s, w.u, w.vt,
                                                              w.work, lwork, w.rwork, w.iwork));
    if (info > 0) {
      copy_region(whole.at(w.a, a.dtype), a);
      info = observed_info(
          "gesvd", Lapack<T>::gesvd(job, rows, cols, w.a, w.s, w.u, w.vt, w.work, lwork, w.rwork));
      check_info("svd", "gesdd and then gesvd", info);
    }
    check_info("svd", "gesdd", info);
  }
  const std::array<std::int64_t, 1> length{k};
  const std::array<std::int64_t, 1> step{1};
  copy_region(s, {reinterpret_cast<const std::byte*>(scratch.s), s.dtype, length, step});
  if (u == nullptr) return;
  copy_region(*u, ColumnMajor(m, k, m).at(scratch.u, a.dtype));
  copy_region(*vt, ColumnMajor(k, n, k).at(scratch.vt, a.dtype));
}

}  // namespace

LapackInfoHook set_lapack_info_hook(LapackInfoHook hook) noexcept {
  return info_hook.exchange(hook);
}

std::size_t qr_scratch_bytes(DType dtype, std::int64_t m, std::int64_t n, bool with_q) {
  check_matrix("qr", dtype, m, n);
  if (m == 0 || n == 0) return 0;
  ScratchLayout layout;
  visit_lapack(dtype, [&]<typename T>() { lay_out_qr<T>(layout, m, n, with_q); });
  return layout.bytes();
}

void qr(ConstBlockView a, const BlockView* q, BlockView r, int threads,
        std::span<std::byte> memory) {
  check_input("qr", a);
  const std::int64_t m = a.shape[0];
  const std::int64_t n = a.shape[1];
  const std::int64_t k = std::min(m, n);
  check_matrix("qr", a.dtype, m, n);
  check_output("qr", "r", r, {k, n}, a.dtype);
  if (q != nullptr) check_output("qr", "q", *q, {m, k}, a.dtype);
  if (k == 0) return;
  visit_lapack(a.dtype, [&]<typename T>() {
    ScratchLayout layout(memory);
    const QrScratch<T> scratch = lay_out_qr<T>(layout, m, n, q != nullptr);
    layout.check("qr");
    qr_of<T>(a, q, r, threads, scratch);
  });
}

std::size_t svd_scratch_bytes(DType dtype, std::int64_t m, std::int64_t n, bool with_vectors) {
  check_matrix("svd", dtype, m, n);
  if (m == 0 || n == 0) return 0;
  ScratchLayout layout;
  visit_lapack(dtype, [&]<typename T>() { lay_out_svd<T>(layout, m, n, with_vectors); });
  return layout.bytes();
}

void svd(ConstBlockView a, const BlockView* u, BlockView s, const BlockView* vt, int threads,
         std::span<std::byte> memory) {
  check_input("svd", a);
  const std::int64_t m = a.shape[0];
  const std::int64_t n = a.shape[1];
  const std::int64_t k = std::min(m, n);
  check_matrix("svd", a.dtype, m, n);
  if ((u == nullptr) != (vt == nullptr)) {
    throw InvalidArgument(
        "[svd] u and vt must be asked for together; got one of them; try both or neither");
  }
  check_output("svd", "s", s, {k}, real_dtype(a.dtype));
  if (u != nullptr) {
    check_output("svd", "u", *u, {m, k}, a.dtype);
    check_output("svd", "vt", *vt, {k, n}, a.dtype);
  }
  if (k == 0) return;
  visit_lapack(a.dtype, [&]<typename T>() {
    ScratchLayout layout(memory);
    const SvdScratch<T> scratch = lay_out_svd<T>(layout, m, n, u != nullptr);
    layout.check("svd");
    svd_of<T>(a, u, s, vt, threads, scratch);
  });
}

}  // namespace tessera::kernels::host
