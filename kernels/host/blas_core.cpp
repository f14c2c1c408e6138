#include "kernels/host/blas_core.hpp"

#include <cblas.h>

#include <cstdlib>
#include <string_view>

// Of builds for many processors; absent in others, which have one set of kernels.
extern "C" {
__attribute__((weak)) void gotoblas_dynamic_init();
__attribute__((weak)) void gotoblas_dynamic_quit();
}

namespace tessera::kernels::host {
namespace {

const char* core_of_processor() noexcept {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    return "SkylakeX";
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "Haswell";
#endif
  return nullptr;
}

}  // namespace

bool choose_blas_core() noexcept {
  constexpr const char* kVariable = "OPENBLAS_CORETYPE";
  if (gotoblas_dynamic_init == nullptr || gotoblas_dynamic_quit == nullptr) return false;
  if (std::getenv(kVariable) != nullptr) return false;
  const char* core = core_of_processor();
  if (core == nullptr || std::string_view(openblas_get_corename()) != "Prescott") return false;
  if (::setenv(kVariable, core, 1) != 0) return false;
  gotoblas_dynamic_quit();
  gotoblas_dynamic_init();
  ::unsetenv(kVariable);
  return true;
}

}  // namespace tessera::kernels::host
