#include "kernels/cuda/factor_cusolver.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/text.hpp"
#include "kernels/cuda/block_sources.hpp"
#include "kernels/cuda/cuda_type.hpp"
#include "kernels/cuda/staged.hpp"
#include "tessera/error.hpp"

namespace tessera::kernels::cuda {

namespace {

using device::cuda::check;
using device::cuda::CudaQueue;

/// Hands out parts of scratch at 256-byte boundaries; without memory it only adds up.
class DeviceLayout {
 public:
  explicit DeviceLayout(std::byte* memory = nullptr) : memory_(memory) {}
  std::byte* take(std::size_t bytes) noexcept {
    std::byte* const part = memory_ == nullptr ? nullptr : memory_ + used_;
    used_ += (bytes + 255) / 256 * 256;
    return part;
  }
  std::size_t bytes() const noexcept { return used_; }

 private:
  std::byte* memory_;
  std::size_t used_ = 0;
};

std::size_t matrix_bytes(DType dtype, std::int64_t rows, std::int64_t cols) {
  return static_cast<std::size_t>(rows * cols) * itemsize(dtype);
}

void check_solver(const CudaQueue& queue, int status, const char* call) {
  check(queue.api(), TESSERA_CUDA_SOLVER, status, call);
}

/// A column-major matrix as a view: rows x cols of what its memory holds with `leading` elements a
/// column.
struct ColumnMajor {
  std::array<std::int64_t, 2> shape;
  std::array<std::int64_t, 2> strides;
  ColumnMajor(std::int64_t rows, std::int64_t cols, std::int64_t leading)
      : shape{rows, cols}, strides{1, leading} {}
  BlockView at(std::byte* data, DType dtype) const { return {data, dtype, shape, strides}; }
};
struct RowMajor {
  std::array<std::int64_t, 2> shape;
  std::array<std::int64_t, 2> strides;
  RowMajor(std::int64_t rows, std::int64_t cols) : shape{rows, cols}, strides{cols, 1} {}
  BlockView at(std::byte* data, DType dtype) const { return {data, dtype, shape, strides}; }
  ConstBlockView at(const std::byte* data, DType dtype) const {
    return {data, dtype, shape, strides};
  }
};

void check_info(const char* where, const char* routine, int info) {
  if (info == 0) return;
  throw LibraryError(core::text("[", where, "] cuSOLVER's ", routine, " must succeed; got info ",
                                info, info > 0 ? " (no convergence)" : " (illegal argument)",
                                "; try scaling the matrix, or another chunking"));
}

/// cuSOLVER's workspace in host memory, and where two numbers from the device arrive.
class HostPart {
 public:
  HostPart(CudaQueue& queue, std::size_t work_bytes) : memory_(queue, kNumbers + work_bytes) {}
  std::byte* work() const noexcept { return memory_.data() + kNumbers; }
  /// Waits for everything that was queued.
  std::array<int, 2> fetch(CudaQueue& queue, const std::byte* from) const {
    std::array<int, 2> numbers{};
    queue.copy(memory_.data(), from, sizeof numbers);
    queue.wait();
    std::memcpy(numbers.data(), memory_.data(), sizeof numbers);
    return numbers;
  }

 private:
  static constexpr std::size_t kNumbers = 256;
  StagingMemory memory_;
};

struct QrScratch {
  std::byte* a;
  std::byte* tau;
  std::byte* info;  // of geqrf and of orgqr
  std::byte* work;
  std::size_t factor_bytes, form_bytes, host_bytes;
};

QrScratch lay_out_qr(CudaQueue& queue, DeviceLayout& layout, DType dtype, std::int64_t m,
                     std::int64_t n, bool with_q) {
  const std::int64_t k = std::min(m, n);
  QrScratch out{};
  const TesseraCudaApi& api = queue.api();
  void* solver = queue.solver();
  const int type = *cuda_type(dtype);
  check_solver(queue,
               api.solver_geqrf_bytes(solver, type, m, n, m, &out.factor_bytes, &out.host_bytes),
               "solver_geqrf_bytes");
  if (with_q)
    check_solver(queue, api.solver_orgqr_bytes(solver, type, m, k, m, &out.form_bytes),
                 "solver_orgqr_bytes");
  out.a = layout.take(matrix_bytes(dtype, m, n));
  out.tau = layout.take(matrix_bytes(dtype, k, 1));
  out.info = layout.take(2 * sizeof(int));
  out.work = layout.take(std::max(out.factor_bytes, out.form_bytes));
  return out;
}

struct SvdScratch {
  std::byte* a;
  std::byte* u;
  std::byte* vt;
  std::byte* flags;  // info, whether there is an element that is not finite
  std::byte* work;
  std::size_t device_bytes, host_bytes;
};

// cuSOLVER takes no wide matrices, but a wide one in C order is a tall one, its transpose, in
// column-major order; the transposes of its factors are the factors in C order.
SvdScratch lay_out_svd(CudaQueue& queue, DeviceLayout& layout, DType dtype, std::int64_t m,
                       std::int64_t n, bool with_vectors) {
  SvdScratch out{};
  check_solver(queue,
               queue.api().solver_gesvd_bytes(queue.solver(), *cuda_type(dtype),
                                              with_vectors ? 1 : 0, std::max(m, n), std::min(m, n),
                                              &out.device_bytes, &out.host_bytes),
               "solver_gesvd_bytes");
  out.a = layout.take(matrix_bytes(dtype, m, n));
  if (with_vectors && m > n) {
    out.u = layout.take(matrix_bytes(dtype, m, n));
    out.vt = layout.take(matrix_bytes(dtype, n, n));
  }
  out.flags = layout.take(2 * sizeof(int));
  out.work = layout.take(out.device_bytes);
  return out;
}

/// `Params` of factor_source().
struct FactorParams {
  std::byte* matrix;
  std::byte* flag;
  std::int64_t rows, cols;
};

constexpr std::int64_t kThreads = 256;

unsigned blocks_for(std::int64_t elements) {
  return static_cast<unsigned>(std::min<std::int64_t>((elements + kThreads - 1) / kThreads, 4096));
}

}  // namespace

Factoriser::Factoriser(KernelCache& cache, DType dtype)
    : dtype_(dtype),
      copier_(cache, itemsize(dtype)),
      source_(cache.prepare(factor_source(dtype), {"clear_lower", "find_unbounded"})) {}

void Factoriser::qr(CudaQueue& queue, std::int64_t m, std::int64_t n, const std::byte* a,
                    std::byte* q, std::byte* r, std::byte* scratch) const {
  const std::int64_t k = std::min(m, n);
  if (k == 0) return;
  DeviceLayout layout(scratch);
  const QrScratch w = lay_out_qr(queue, layout, dtype_, m, n, q != nullptr);
  const TesseraCudaApi& api = queue.api();
  const int type = *cuda_type(dtype_);
  const HostPart host(queue, w.host_bytes);
  copier_.copy(queue, ColumnMajor(m, n, m).at(w.a, dtype_), RowMajor(m, n).at(a, dtype_));
  queue.fill(w.info, 0, 2 * sizeof(int));
  check_solver(queue,
               api.solver_geqrf(queue.solver(), type, m, n, w.a, m, w.tau, w.work, w.factor_bytes,
                                host.work(), w.host_bytes, w.info),
               "solver_geqrf");
  copier_.copy(queue, RowMajor(k, n).at(r, dtype_), ColumnMajor(k, n, m).at(w.a, dtype_));
  FactorParams params{r, nullptr, k, n};
  void* arguments[] = {&params};
  queue.launch(source_.kernel(queue, "clear_lower"), "clear_lower", {blocks_for(k * n), 1, 1},
               {kThreads, 1, 1}, 0, arguments);
  if (q != nullptr) {
    check_solver(queue,
                 api.solver_orgqr(queue.solver(), type, m, k, w.a, m, w.tau, w.work, w.form_bytes,
                                  w.info + sizeof(int)),
                 "solver_orgqr");
    copier_.copy(queue, RowMajor(m, k).at(q, dtype_), ColumnMajor(m, k, m).at(w.a, dtype_));
  }
  const auto info = host.fetch(queue, w.info);
  check_info("qr", "geqrf", info[0]);
  check_info("qr", "orgqr", info[1]);
}

void Factoriser::svd(CudaQueue& queue, std::int64_t m, std::int64_t n, const std::byte* a,
                     std::byte* u, std::byte* s, std::byte* vt, std::byte* scratch) const {
  if (std::min(m, n) == 0) return;
  const bool tall = m > n;
  DeviceLayout layout(scratch);
  const SvdScratch w = lay_out_svd(queue, layout, dtype_, m, n, u != nullptr);
  const TesseraCudaApi& api = queue.api();
  const HostPart host(queue, w.host_bytes);
  queue.fill(w.flags, 0, 2 * sizeof(int));
  if (tall) {
    copier_.copy(queue, ColumnMajor(m, n, m).at(w.a, dtype_), RowMajor(m, n).at(a, dtype_));
  } else {
    queue.copy(w.a, a, matrix_bytes(dtype_, m, n));
  }
  FactorParams params{w.a, w.flags + sizeof(int), m, n};
  void* arguments[] = {&params};
  queue.launch(source_.kernel(queue, "find_unbounded"), "find_unbounded", {blocks_for(m * n), 1, 1},
               {kThreads, 1, 1}, 0, arguments);
  // The iteration need not end for what is not finite.
  if (host.fetch(queue, w.flags)[1] != 0) {
    throw LibraryError(
        "[svd] the matrix must be finite, or the iteration does not converge; got NaN or infinity; "
        "try nan_to_num");
  }
  const std::int64_t rows = std::max(m, n), cols = std::min(m, n);
  check_solver(queue,
               api.solver_gesvd(queue.solver(), *cuda_type(dtype_), u != nullptr ? 1 : 0, rows,
                                cols, w.a, rows, s, tall ? w.u : vt, rows, tall ? w.vt : u, cols,
                                w.work, w.device_bytes, host.work(), w.host_bytes, w.flags),
               "solver_gesvd");
  if (tall && u != nullptr) {
    copier_.copy(queue, RowMajor(m, n).at(u, dtype_), ColumnMajor(m, n, m).at(w.u, dtype_));
    copier_.copy(queue, RowMajor(n, n).at(vt, dtype_), ColumnMajor(n, n, n).at(w.vt, dtype_));
  }
  check_info("svd", "gesvd", host.fetch(queue, w.flags)[0]);
}

std::size_t qr_scratch_bytes(CudaQueue& queue, DType dtype, std::int64_t m, std::int64_t n,
                             bool with_q) {
  if (m == 0 || n == 0) return 0;
  DeviceLayout layout;
  lay_out_qr(queue, layout, dtype, m, n, with_q);
  return layout.bytes();
}

std::size_t svd_scratch_bytes(CudaQueue& queue, DType dtype, std::int64_t m, std::int64_t n,
                              bool with_vectors) {
  if (m == 0 || n == 0) return 0;
  DeviceLayout layout;
  lay_out_svd(queue, layout, dtype, m, n, with_vectors);
  return layout.bytes();
}

}  // namespace tessera::kernels::cuda
