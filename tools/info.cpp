#include "tools/info.hpp"

#include <cstdlib>
#include <iomanip>
#include <ostream>
#include <sstream>
#include <string>

#include "comm/device_links.hpp"
#include "comm/ucx/ucx_library.hpp"
#include "core/environment.hpp"
#include "core/module_loader.hpp"
#include "core/text.hpp"
#include "device/cuda/cuda_module.h"
#include "io/store.hpp"
#include "kernels/host/gemm_openblas.hpp"
#include "kernels/host/loops.hpp"
#include "tessera/chunk_grid.hpp"
#include "tessera/session.hpp"
#include "tessera/version.hpp"

namespace tessera {
namespace {

/// What the CUDA module says of its libraries and of every device, whichever a session would use; or why
/// there is none.
std::string cuda_support() {
  const core::LoadedModule module =
      core::load_module("libtessera_cuda.so", TESSERA_CUDA_MODULE_ENTRY);
  if (module.entry == nullptr) return "not available: " + module.problem;
  const TesseraCudaApi& api = *reinterpret_cast<const TesseraCudaApi* (*)()>(module.entry)();
  if (api.version != TESSERA_CUDA_MODULE_VERSION) {
    return "not available: " + module.path + ": built for another version of tessera";
  }
  std::string out = core::text(api.versions(), " (", module.path, ")");
  if (const char* reason = api.unavailable(); reason != nullptr) {
    return core::text(out, "\n    no device: ", reason);
  }
  int count = 0;
  if (const int status = api.device_count(&count); status != TESSERA_CUDA_OK) {
    return core::text(out, "\n    no device: ", api.error_text(TESSERA_CUDA_RUNTIME, status));
  }
  for (int d = 0; d < count; ++d) {
    TesseraCudaDeviceInfo info{};
    const int status = api.device_info(d, &info);
    out += core::text("\n    cuda:", d, ": ");
    out += status != TESSERA_CUDA_OK
               ? std::string(api.error_text(TESSERA_CUDA_RUNTIME, status))
               : core::text(info.name, ", sm_", info.major, info.minor, ", ",
                            info.multiprocessors, " multiprocessors, ",
                            format_bytes(info.memory_bytes), " (", format_bytes(info.free_bytes),
                            " free), PCI ", info.pci_bus_id);
  }
  return out;
}

}  // namespace

int print_info(std::ostream& out) {
  const core::Environment& env = core::environment();
  const int cores = core::available_cores();
  // First: what is wrong with the configuration shows before anything else.
  const std::string session = Session::current().describe();
  std::istringstream devices(session);
  out << "tessera " TESSERA_VERSION_STRING ", compiler " __VERSION__ "\n\nDevices\n";
  std::string line;
  while (std::getline(devices, line)) out << "  " << line << '\n';
  out << "  memory free now: " << format_bytes(core::available_memory_bytes())
      << ", cores: " << cores << '\n';
  out << "\nNumeric profile (what bits may depend on besides the program)\n"
      << "  device kind: " << session.substr(0, session.find(':'))
      << "\n  SIMD target: " << kernels::host::simd_target()
      << "\n  BLAS: " << kernels::host::blas_info()
      << "\n  LAPACK threads: " << env.lapack_threads.value_or(cores) << '\n';
  out << "\nFeatures\n  NetCDF: " << io::netcdf_support()
      << "\n  npy, png: built in\n  CUDA: " << cuda_support() << "\n  UCX: "
      << comm::ucx_support() << "\n  NCCL: " << comm::nccl_support() << "\n"
      << "\nLibraries at build time\n  " TESSERA_LIBRARY_VERSIONS "\n";
  out << "\nEnvironment\n";
  for (const core::VariableInfo& variable : core::environment_variables()) {
    const char* value = std::getenv(variable.name);
    out << "  " << std::left << std::setw(24) << variable.name << variable.meaning
        << (value != nullptr ? std::string(" [now: ") + value + "]" : "") << '\n';
  }
  return 0;
}

}  // namespace tessera
