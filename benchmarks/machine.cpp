#include "benchmarks/machine.hpp"

#include <fstream>

#include "core/environment.hpp"
#include "core/text.hpp"
#include "kernels/host/gemm_openblas.hpp"
#include "kernels/host/loops.hpp"
#include "tessera/version.hpp"

namespace tessera::benchmarks {
namespace {

std::string processor() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

}  // namespace

std::string machine_facts() {
  return core::text("\"processor\": \"", processor(), "\", \"cores\": ", core::available_cores(),
                    ", \"free_memory_bytes\": ", core::available_memory_bytes(),
                    ", \"device\": \"host\", \"simd\": \"", kernels::host::simd_target(),
                    "\", \"blas\": \"", kernels::host::blas_info(), "\", \"compiler\": \"",
                    __VERSION__, "\", \"build\": \"", TESSERA_BUILD_TYPE, "\", \"version\": \"",
                    TESSERA_VERSION_STRING, "\"");
}

}  // namespace tessera::benchmarks
