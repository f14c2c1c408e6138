#include "tools/info.hpp"

#include <cstdlib>
#include <iomanip>
#include <ostream>
#include <sstream>

#include "core/environment.hpp"
#include "io/store.hpp"
#include "kernels/host/gemm_openblas.hpp"
#include "kernels/host/loops.hpp"
#include "tessera/chunk_grid.hpp"
#include "tessera/session.hpp"
#include "tessera/version.hpp"

namespace tessera {

int print_info(std::ostream& out) {
  const core::Environment& env = core::environment();
  const int cores = core::available_cores();
  // First: what is wrong with the configuration shows before anything else.
  std::istringstream devices(Session::current().describe());
  out << "tessera " TESSERA_VERSION_STRING ", compiler " __VERSION__ "\n\nDevices\n";
  std::string line;
  while (std::getline(devices, line)) out << "  " << line << '\n';
  out << "  memory free now: " << format_bytes(core::available_memory_bytes())
      << ", cores: " << cores << '\n';
  out << "\nNumeric profile (what bits may depend on besides the program)\n"
      << "  device kind: host\n  SIMD target: " << kernels::host::simd_target()
      << "\n  BLAS: " << kernels::host::blas_info()
      << "\n  LAPACK threads: " << env.lapack_threads.value_or(cores) << '\n';
  out << "\nFeatures\n  NetCDF: " << io::netcdf_support()
      << "\n  npy, png: built in\n  CUDA: not in this build\n"
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
