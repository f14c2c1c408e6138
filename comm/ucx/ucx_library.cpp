#include "comm/ucx/ucx_library.hpp"

#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "core/module_loader.hpp"
#include "core/text.hpp"

namespace tessera::comm {

const TesseraUcxApi* find_ucx(std::string& problem) {
  // Read when the library is loaded.
  ::setenv("UCX_HANDLE_ERRORS", "none", 0);
  const core::LoadedModule module =
      core::load_module("libtessera_ucx.so", TESSERA_UCX_MODULE_ENTRY);
  problem = module.problem;
  if (module.entry == nullptr) return nullptr;
  const auto* api = reinterpret_cast<const TesseraUcxApi* (*)()>(module.entry)();
  if (api->version == TESSERA_UCX_MODULE_VERSION) return api;
  problem = module.path + ": built for another version of tessera";
  return nullptr;
}

std::string ucx_support() {
  std::string problem;
  const TesseraUcxApi* api = find_ucx(problem);
  if (api == nullptr) return "not available: " + problem;
  return core::text(api->library_version(),
                    has_rdma_network() ? "" : " (no RDMA network here: used where asked for)");
}

bool has_rdma_network() {
  std::error_code error;
  const std::filesystem::directory_iterator devices("/sys/class/infiniband", error);
  return !error && devices != std::filesystem::directory_iterator();
}

}  // namespace tessera::comm
