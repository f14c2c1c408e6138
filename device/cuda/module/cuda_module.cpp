#include "device/cuda/cuda_module.h"

#include <string>

#include "device/cuda/module/module_parts.hpp"

namespace tessera::device::cuda::vendor {
namespace {

const char* versions() {
  static const std::string text = runtime_version() + ", " + nvrtc_version() + ", " +
                                  cublas_version() + ", " + cusolver_version();
  return text.c_str();
}

const char* error_text(int library, int status) {
  switch (library) {
    case TESSERA_CUDA_RUNTIME:
      return runtime_error_text(status);
    case TESSERA_CUDA_NVRTC:
      return nvrtc_error_text(status);
    case TESSERA_CUDA_BLAS:
      return cublas_error_text(status);
    case TESSERA_CUDA_SOLVER:
      return cusolver_error_text(status);
  }
  return "a status of no library";
}

/// Products and factorisations may do without their libraries; without a compiler there are no
/// kernels.
const char* unavailable() {
  static const std::string reason = [] {
    const std::string problem = runtime_problem();
    return problem.empty() ? nvrtc_problem() : problem;
  }();
  return reason.empty() ? nullptr : reason.c_str();
}

TesseraCudaApi make_api() {
  TesseraCudaApi api{};
  api.version = TESSERA_CUDA_MODULE_VERSION;
  api.versions = versions;
  api.error_text = error_text;
  api.unavailable = unavailable;
  add_runtime(api);
  add_nvrtc(api);
  add_cublas(api);
  add_cub(api);
  add_cusolver(api);
  return api;
}

}  // namespace
}  // namespace tessera::device::cuda::vendor

extern "C" __attribute__((visibility("default"))) const TesseraCudaApi* tessera_cuda_module() {
  static const TesseraCudaApi api = tessera::device::cuda::vendor::make_api();
  return &api;
}
