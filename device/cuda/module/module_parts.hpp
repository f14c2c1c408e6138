#pragma once

#include <string>

#include "device/cuda/cuda_module.h"

// The parts that libtessera_cuda.so consists of, one file for each library of the vendor: what each
// puts into the table, its words for statuses, and its name and version.

namespace tessera::device::cuda::vendor {

void add_runtime(TesseraCudaApi& api);
const char* runtime_error_text(int status);
/// Why there is no device to be used; empty when there is one.
std::string runtime_problem();
/// "CUDA runtime 13.0, driver 13.0"
std::string runtime_version();

void add_nvrtc(TesseraCudaApi& api);
const char* nvrtc_error_text(int status);
/// Why nothing can be compiled; empty when it can.
std::string nvrtc_problem();
std::string nvrtc_version();

void add_cublas(TesseraCudaApi& api);
const char* cublas_error_text(int status);
std::string cublas_version();

/// Sorting; its statuses are the runtime's, and its version is the toolkit's.
void add_cub(TesseraCudaApi& api);

void add_cusolver(TesseraCudaApi& api);
const char* cusolver_error_text(int status);
std::string cusolver_version();

/// "13.0" of CUDA's 13000.
std::string cuda_version_text(int version);

}  // namespace tessera::device::cuda::vendor
