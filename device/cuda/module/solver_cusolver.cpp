#include <cusolverDn.h>

#include <algorithm>
#include <limits>
#include <memory>

#include "device/cuda/module/module_parts.hpp"
#include "device/cuda/module/vendor_library.hpp"

namespace tessera::device::cuda::vendor {
namespace {

struct Cusolver {
  SharedLibrary library{
      {"libcusolver.so.12", "libcusolver.so.11"},
      {"libnvJitLink.so.13", "libcublasLt.so.13", "libcublas.so.13", "libnvJitLink.so.12",
       "libcublasLt.so.12", "libcublas.so.12", "libcusparse.so.12"}};
  decltype(&::cusolverGetProperty) property;
  decltype(&::cusolverDnCreate) create;
  decltype(&::cusolverDnDestroy) destroy;
  decltype(&::cusolverDnSetStream) set_stream;
  decltype(&::cusolverDnCreateParams) create_params;
  decltype(&::cusolverDnDestroyParams) destroy_params;
  decltype(&::cusolverDnXgeqrf_bufferSize) geqrf_size;
  decltype(&::cusolverDnXgeqrf) geqrf;
  decltype(&::cusolverDnXgesvd_bufferSize) gesvd_size;
  decltype(&::cusolverDnXgesvd) gesvd;
  decltype(&::cusolverDnSorgqr_bufferSize) sorgqr_size;
  decltype(&::cusolverDnDorgqr_bufferSize) dorgqr_size;
  decltype(&::cusolverDnCungqr_bufferSize) cungqr_size;
  decltype(&::cusolverDnZungqr_bufferSize) zungqr_size;
  decltype(&::cusolverDnSorgqr) sorgqr;
  decltype(&::cusolverDnDorgqr) dorgqr;
  decltype(&::cusolverDnCungqr) cungqr;
  decltype(&::cusolverDnZungqr) zungqr;

  Cusolver() {
    library.bind(property, TESSERA_VENDOR_SYMBOL(cusolverGetProperty));
    library.bind(create, TESSERA_VENDOR_SYMBOL(cusolverDnCreate));
    library.bind(destroy, TESSERA_VENDOR_SYMBOL(cusolverDnDestroy));
    library.bind(set_stream, TESSERA_VENDOR_SYMBOL(cusolverDnSetStream));
    library.bind(create_params, TESSERA_VENDOR_SYMBOL(cusolverDnCreateParams));
    library.bind(destroy_params, TESSERA_VENDOR_SYMBOL(cusolverDnDestroyParams));
    library.bind(geqrf_size, TESSERA_VENDOR_SYMBOL(cusolverDnXgeqrf_bufferSize));
    library.bind(geqrf, TESSERA_VENDOR_SYMBOL(cusolverDnXgeqrf));
    library.bind(gesvd_size, TESSERA_VENDOR_SYMBOL(cusolverDnXgesvd_bufferSize));
    library.bind(gesvd, TESSERA_VENDOR_SYMBOL(cusolverDnXgesvd));
    library.bind(sorgqr_size, TESSERA_VENDOR_SYMBOL(cusolverDnSorgqr_bufferSize));
    library.bind(dorgqr_size, TESSERA_VENDOR_SYMBOL(cusolverDnDorgqr_bufferSize));
    library.bind(cungqr_size, TESSERA_VENDOR_SYMBOL(cusolverDnCungqr_bufferSize));
    library.bind(zungqr_size, TESSERA_VENDOR_SYMBOL(cusolverDnZungqr_bufferSize));
    library.bind(sorgqr, TESSERA_VENDOR_SYMBOL(cusolverDnSorgqr));
    library.bind(dorgqr, TESSERA_VENDOR_SYMBOL(cusolverDnDorgqr));
    library.bind(cungqr, TESSERA_VENDOR_SYMBOL(cusolverDnCungqr));
    library.bind(zungqr, TESSERA_VENDOR_SYMBOL(cusolverDnZungqr));
  }
};

const Cusolver& cusolver() {
  static const Cusolver loaded;
  return loaded;
}

/// What a handle of the table stands for.
struct Solver {
  cusolverDnHandle_t handle = nullptr;
  cusolverDnParams_t params = nullptr;
};
Solver& solver_of(void* handle) { return *static_cast<Solver*>(handle); }

struct Types {
  cudaDataType element, real;
};
Types types_of(int type) {
  switch (type) {
    case TESSERA_CUDA_FLOAT32:
      return {CUDA_R_32F, CUDA_R_32F};
    case TESSERA_CUDA_COMPLEX64:
      return {CUDA_C_32F, CUDA_R_32F};
    case TESSERA_CUDA_COMPLEX128:
      return {CUDA_C_64F, CUDA_R_64F};
    default:
      return {CUDA_R_64F, CUDA_R_64F};
  }
}

int solver_create(void** handle) {
  *handle = nullptr;
  if (!cusolver().library.loaded()) return kMissingLibrary;
  auto made = std::make_unique<Solver>();
  cusolverStatus_t status = cusolver().create(&made->handle);
  if (status != CUSOLVER_STATUS_SUCCESS) return status;
  status = cusolver().create_params(&made->params);
  if (status != CUSOLVER_STATUS_SUCCESS) {
    cusolver().destroy(made->handle);
    return status;
  }
  *handle = made.release();
  return status;
}

int solver_destroy(void* handle) {
  const std::unique_ptr<Solver> solver(&solver_of(handle));
  const cusolverStatus_t params = cusolver().destroy_params(solver->params);
  const cusolverStatus_t status = cusolver().destroy(solver->handle);
  return status != CUSOLVER_STATUS_SUCCESS ? status : params;
}

int solver_set_stream(void* handle, void* stream) {
  return cusolver().set_stream(solver_of(handle).handle, static_cast<cudaStream_t>(stream));
}

int solver_geqrf_bytes(void* handle, int type, int64_t m, int64_t n, int64_t lda,
                       size_t* device_bytes, size_t* host_bytes) {
  const Solver& solver = solver_of(handle);
  const cudaDataType t = types_of(type).element;
  return cusolver().geqrf_size(solver.handle, solver.params, m, n, t, nullptr, lda, t, nullptr, t,
                               device_bytes, host_bytes);
}

int solver_geqrf(void* handle, int type, int64_t m, int64_t n, void* a, int64_t lda, void* tau,
                 void* device_work, size_t device_bytes, void* host_work, size_t host_bytes,
                 void* info) {
  const Solver& solver = solver_of(handle);
  const cudaDataType t = types_of(type).element;
  return cusolver().geqrf(solver.handle, solver.params, m, n, t, a, lda, t, tau, t, device_work,
                          device_bytes, host_work, host_bytes, static_cast<int*>(info));
}

/// orgqr has no 64-bit interface, and says nowhere whether it counts elements with 32 bits, too.
bool fits_int(int64_t m, int64_t n, int64_t lda) {
  constexpr int64_t kMost = std::numeric_limits<int>::max();
  return m <= kMost && n <= kMost && lda <= kMost && (n == 0 || lda <= kMost / n);
}

template <typename T, typename Size>
int orgqr_bytes(Size size_of, void* handle, int64_t m, int64_t n, int64_t lda,
                size_t* device_bytes) {
  int elements = 0;
  const cusolverStatus_t status =
      size_of(solver_of(handle).handle, static_cast<int>(m), static_cast<int>(n),
              static_cast<int>(n), nullptr, static_cast<int>(lda), nullptr, &elements);
  *device_bytes = sizeof(T) * static_cast<size_t>(std::max(elements, 0));
  return status;
}

int solver_orgqr_bytes(void* handle, int type, int64_t m, int64_t n, int64_t lda,
                       size_t* device_bytes) {
  *device_bytes = 0;
  if (!fits_int(m, n, lda)) return kTooLarge;
  const Cusolver& s = cusolver();
  switch (type) {
    case TESSERA_CUDA_FLOAT32:
      return orgqr_bytes<float>(s.sorgqr_size, handle, m, n, lda, device_bytes);
    case TESSERA_CUDA_FLOAT64:
      return orgqr_bytes<double>(s.dorgqr_size, handle, m, n, lda, device_bytes);
    case TESSERA_CUDA_COMPLEX64:
      return orgqr_bytes<cuComplex>(s.cungqr_size, handle, m, n, lda, device_bytes);
    case TESSERA_CUDA_COMPLEX128:
      return orgqr_bytes<cuDoubleComplex>(s.zungqr_size, handle, m, n, lda, device_bytes);
    default:
      return CUSOLVER_STATUS_INVALID_VALUE;
  }
}

struct OrgqrCall {
  void* handle;
  int64_t m, n;
  void* a;
  int64_t lda;
  const void* tau;
  void* work;
  size_t work_bytes;
  void* info;
};

template <typename T, typename Orgqr>
int run_orgqr(Orgqr orgqr, const OrgqrCall& call) {
  constexpr size_t kMost = std::numeric_limits<int>::max();
  const int elements = static_cast<int>(std::min(call.work_bytes / sizeof(T), kMost));
  return orgqr(solver_of(call.handle).handle, static_cast<int>(call.m), static_cast<int>(call.n),
               static_cast<int>(call.n), static_cast<T*>(call.a), static_cast<int>(call.lda),
               static_cast<const T*>(call.tau), static_cast<T*>(call.work), elements,
               static_cast<int*>(call.info));
}

int solver_orgqr(void* handle, int type, int64_t m, int64_t n, void* a, int64_t lda,
                 const void* tau, void* device_work, size_t device_bytes, void* info) {
  if (!fits_int(m, n, lda)) return kTooLarge;
  const OrgqrCall call{handle, m, n, a, lda, tau, device_work, device_bytes, info};
  switch (type) {
    case TESSERA_CUDA_FLOAT32:
      return run_orgqr<float>(cusolver().sorgqr, call);
    case TESSERA_CUDA_FLOAT64:
      return run_orgqr<double>(cusolver().dorgqr, call);
    case TESSERA_CUDA_COMPLEX64:
      return run_orgqr<cuComplex>(cusolver().cungqr, call);
    case TESSERA_CUDA_COMPLEX128:
      return run_orgqr<cuDoubleComplex>(cusolver().zungqr, call);
    default:
      return CUSOLVER_STATUS_INVALID_VALUE;
  }
}

int solver_gesvd_bytes(void* handle, int type, int vectors, int64_t m, int64_t n,
                       size_t* device_bytes, size_t* host_bytes) {
  const Solver& solver = solver_of(handle);
  const Types t = types_of(type);
  const signed char job = vectors != 0 ? 'S' : 'N';
  const int64_t rows = std::max<int64_t>(m, 1);
  const int64_t columns = std::max<int64_t>(n, 1);
  return cusolver().gesvd_size(solver.handle, solver.params, job, job, m, n, t.element, nullptr,
                               rows, t.real, nullptr, t.element, nullptr, rows, t.element, nullptr,
                               columns, t.element, device_bytes, host_bytes);
}

int solver_gesvd(void* handle, int type, int vectors, int64_t m, int64_t n, void* a, int64_t lda,
                 void* s, void* u, int64_t ldu, void* vt, int64_t ldvt, void* device_work,
                 size_t device_bytes, void* host_work, size_t host_bytes, void* info) {
  const Solver& solver = solver_of(handle);
  const Types t = types_of(type);
  const signed char job = vectors != 0 ? 'S' : 'N';
  return cusolver().gesvd(solver.handle, solver.params, job, job, m, n, t.element, a, lda, t.real,
                          s, t.element, u, ldu, t.element, vt, ldvt, t.element, device_work,
                          device_bytes, host_work, host_bytes, static_cast<int*>(info));
}

}  // namespace

void add_cusolver(TesseraCudaApi& api) {
  api.solver_create = solver_create;
  api.solver_destroy = solver_destroy;
  api.solver_set_stream = solver_set_stream;
  api.solver_geqrf_bytes = solver_geqrf_bytes;
  api.solver_geqrf = solver_geqrf;
  api.solver_orgqr_bytes = solver_orgqr_bytes;
  api.solver_orgqr = solver_orgqr;
  api.solver_gesvd_bytes = solver_gesvd_bytes;
  api.solver_gesvd = solver_gesvd;
}

const char* cusolver_error_text(int status) {
  switch (status) {
    case kMissingLibrary:
      return cusolver().library.problem().c_str();
    case kTooLarge:
      return "the matrix has more elements than cuSOLVER's 32-bit orgqr takes";
    case CUSOLVER_STATUS_SUCCESS:
      return "success";
    case CUSOLVER_STATUS_NOT_INITIALIZED:
      return "the library was not initialized";
    case CUSOLVER_STATUS_ALLOC_FAILED:
      return "resource allocation failed";
    case CUSOLVER_STATUS_INVALID_VALUE:
      return "an unsupported value or parameter was passed";
    case CUSOLVER_STATUS_ARCH_MISMATCH:
      return "the device's architecture is not supported";
    case CUSOLVER_STATUS_MAPPING_ERROR:
      return "an access to device memory failed";
    case CUSOLVER_STATUS_EXECUTION_FAILED:
      return "a kernel failed";
    case CUSOLVER_STATUS_INTERNAL_ERROR:
      return "an internal operation failed";
    case CUSOLVER_STATUS_NOT_SUPPORTED:
      return "the operation is not supported";
    case CUSOLVER_STATUS_INVALID_WORKSPACE:
      return "the workspace is not valid";
    default:
      return "a status without a text";
  }
}

std::string cusolver_version() {
  if (!cusolver().library.loaded()) return "no cuSOLVER";
  int parts[3] = {};
  cusolver().property(MAJOR_VERSION, &parts[0]);
  cusolver().property(MINOR_VERSION, &parts[1]);
  cusolver().property(PATCH_LEVEL, &parts[2]);
  return "cuSOLVER " + std::to_string(parts[0]) + "." + std::to_string(parts[1]) + "." +
         std::to_string(parts[2]);
}

}  // namespace tessera::device::cuda::vendor
