#include "comm/device_links.hpp"
#include "comm/nccl/nccl_module.h"
#include "core/module_loader.hpp"

namespace tessera::comm {

const TesseraNcclApi* find_nccl(std::string& problem) {
  static const core::LoadedModule module =
      core::load_module("libtessera_nccl.so", TESSERA_NCCL_MODULE_ENTRY);
  problem = module.problem;
  if (module.entry == nullptr) return nullptr;
  const auto* api = reinterpret_cast<const TesseraNcclApi* (*)()>(module.entry)();
  if (api->version != TESSERA_NCCL_MODULE_VERSION) {
    problem = module.path + ": built for another version of tessera";
    return nullptr;
  }
  if (const char* reason = api->unavailable(); reason != nullptr) {
    problem = reason;
    return nullptr;
  }
  return api;
}

std::string nccl_support() {
  std::string problem;
  const TesseraNcclApi* api = find_nccl(problem);
  return api != nullptr ? api->library_version() : "not available: " + problem;
}

}  // namespace tessera::comm
