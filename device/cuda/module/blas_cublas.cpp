#include <cublas_v2.h>

#include "device/cuda/module/module_parts.hpp"
#include "device/cuda/module/vendor_library.hpp"

namespace tessera::device::cuda::vendor {
namespace {

struct Cublas {
  SharedLibrary library{{"libcublas.so.13", "libcublas.so.12"},
                        {"libcublasLt.so.13", "libcublasLt.so.12"}};
  decltype(&::cublasGetProperty) property;
  decltype(&::cublasGetStatusString) status_string;
  decltype(&::cublasCreate) create;
  decltype(&::cublasDestroy) destroy;
  decltype(&::cublasSetStream) set_stream;
  decltype(&::cublasSetWorkspace) set_workspace;
  decltype(&::cublasSetMathMode) set_math_mode;
  decltype(&::cublasSgemm_64) sgemm;
  decltype(&::cublasDgemm_64) dgemm;
  decltype(&::cublasCgemm_64) cgemm;
  decltype(&::cublasZgemm_64) zgemm;

  Cublas() {
    library.bind(property, TESSERA_VENDOR_SYMBOL(cublasGetProperty));
    library.bind(status_string, TESSERA_VENDOR_SYMBOL(cublasGetStatusString));
    library.bind(create, TESSERA_VENDOR_SYMBOL(cublasCreate));
    library.bind(destroy, TESSERA_VENDOR_SYMBOL(cublasDestroy));
    library.bind(set_stream, TESSERA_VENDOR_SYMBOL(cublasSetStream));
    library.bind(set_workspace, TESSERA_VENDOR_SYMBOL(cublasSetWorkspace));
    library.bind(set_math_mode, TESSERA_VENDOR_SYMBOL(cublasSetMathMode));
    library.bind(sgemm, TESSERA_VENDOR_SYMBOL(cublasSgemm_64));
    library.bind(dgemm, TESSERA_VENDOR_SYMBOL(cublasDgemm_64));
    library.bind(cgemm, TESSERA_VENDOR_SYMBOL(cublasCgemm_64));
    library.bind(zgemm, TESSERA_VENDOR_SYMBOL(cublasZgemm_64));
  }
};

const Cublas& cublas() {
  static const Cublas loaded;
  return loaded;
}

cublasHandle_t handle_of(void* handle) { return static_cast<cublasHandle_t>(handle); }

int blas_create(void** handle) {
  *handle = nullptr;
  if (!cublas().library.loaded()) return kMissingLibrary;
  // As it is made: scalars in host memory, no atomics, products in the operands' own precision.
  return cublas().create(reinterpret_cast<cublasHandle_t*>(handle));
}

int blas_destroy(void* handle) { return cublas().destroy(handle_of(handle)); }

int blas_set_stream(void* handle, void* stream) {
  return cublas().set_stream(handle_of(handle), static_cast<cudaStream_t>(stream));
}

int blas_set_workspace(void* handle, void* workspace, size_t bytes) {
  return cublas().set_workspace(handle_of(handle), workspace, bytes);
}

cublasOperation_t operation(int op) {
  switch (op) {
    case TESSERA_CUDA_TRANSPOSED:
      return CUBLAS_OP_T;
    case TESSERA_CUDA_ADJOINT:
      return CUBLAS_OP_C;
    default:
      return CUBLAS_OP_N;
  }
}

// Numbers of CUDA 13's header, which an older one has not: a library that does not know a mode says
// so.
constexpr int kBf16x9Mode = 4;
constexpr int kFixedPointMode = 8;

cublasMath_t math_mode(int type, int precision) {
  const bool single = type == TESSERA_CUDA_FLOAT32 || type == TESSERA_CUDA_COMPLEX64;
  if (precision == TESSERA_CUDA_TF32 && single) return CUBLAS_TF32_TENSOR_OP_MATH;
  if (precision == TESSERA_CUDA_BF16X9 && single) return static_cast<cublasMath_t>(kBf16x9Mode);
  if (precision == TESSERA_CUDA_FIXED_POINT && !single)
    return static_cast<cublasMath_t>(kFixedPointMode);
  return CUBLAS_DEFAULT_MATH;
}

int blas_gemm(void* handle, int type, int precision, int op_a, int op_b, int64_t m, int64_t n,
              int64_t k, const void* alpha, const void* a, int64_t lda, const void* b, int64_t ldb,
              const void* beta, void* c, int64_t ldc) {
  const cublasStatus_t status =
      cublas().set_math_mode(handle_of(handle), math_mode(type, precision));
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  const auto call = [&]<typename T>(const auto& gemm, const T*) {
    return gemm(handle_of(handle), operation(op_a), operation(op_b), m, n, k,
                static_cast<const T*>(alpha), static_cast<const T*>(a), lda,
                static_cast<const T*>(b), ldb, static_cast<const T*>(beta), static_cast<T*>(c),
                ldc);
  };
  switch (type) {
    case TESSERA_CUDA_FLOAT32:
      return call(cublas().sgemm, static_cast<const float*>(nullptr));
    case TESSERA_CUDA_FLOAT64:
      return call(cublas().dgemm, static_cast<const double*>(nullptr));
    case TESSERA_CUDA_COMPLEX64:
      return call(cublas().cgemm, static_cast<const cuComplex*>(nullptr));
    case TESSERA_CUDA_COMPLEX128:
      return call(cublas().zgemm, static_cast<const cuDoubleComplex*>(nullptr));
    default:
      return CUBLAS_STATUS_INVALID_VALUE;
  }
}

}  // namespace

void add_cublas(TesseraCudaApi& api) {
  api.blas_create = blas_create;
  api.blas_destroy = blas_destroy;
  api.blas_set_stream = blas_set_stream;
  api.blas_set_workspace = blas_set_workspace;
  api.blas_gemm = blas_gemm;
}

const char* cublas_error_text(int status) {
  if (status == kMissingLibrary || !cublas().library.loaded())
    return cublas().library.problem().c_str();
  return cublas().status_string(static_cast<cublasStatus_t>(status));
}

std::string cublas_version() {
  if (!cublas().library.loaded()) return "no cuBLAS";
  int parts[3] = {};
  cublas().property(MAJOR_VERSION, &parts[0]);
  cublas().property(MINOR_VERSION, &parts[1]);
  cublas().property(PATCH_LEVEL, &parts[2]);
  return "cuBLAS " + std::to_string(parts[0]) + "." + std::to_string(parts[1]) + "." +
         std::to_string(parts[2]);
}

}  // namespace tessera::device::cuda::vendor
