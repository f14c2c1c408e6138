#include "comm/pmix/pmix_job.hpp"

#include <cstdlib>
#include <sstream>

#include "comm/pmix/pmix_module.h"
#include "comm/sockets/bootstrap.hpp"
#include "core/environment.hpp"
#include "core/module_loader.hpp"
#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::comm {
namespace {

const TesseraPmixApi* find_module(std::string& problem) {
  const core::LoadedModule module =
      core::load_module("libtessera_pmix.so", TESSERA_PMIX_MODULE_ENTRY);
  problem = module.problem;
  if (module.entry == nullptr) return nullptr;
  const auto* api = reinterpret_cast<const TesseraPmixApi* (*)()>(module.entry)();
  if (api->version == TESSERA_PMIX_MODULE_VERSION) return api;
  problem = module.path + ": built for another version of tessera";
  return nullptr;
}

}  // namespace

std::optional<PmixJob> pmix_job() {
  if (std::getenv("PMIX_NAMESPACE") == nullptr || std::getenv("PMIX_RANK") == nullptr) return {};
  std::string problem;
  const TesseraPmixApi* api = find_module(problem);
  if (api == nullptr) {
    core::log(core::LogLevel::kInfo,
              core::text("a launcher that speaks PMIx started this process, which cannot answer: ",
                         problem));
    return {};
  }
  const auto check = [api](int status, const char* what) {
    if (status == 0) return;
    throw CommError(core::text("[comm] the launcher's PMIx server must answer; got ",
                               api->error_text(status), " from ", what,
                               "; try TESSERA_RENDEZVOUS instead"));
  };
  std::uint32_t rank = 0, ranks = 0, ranks_here = 0;
  check(api->init(&rank, &ranks, &ranks_here), "PMIx_Init");
  PmixJob out;
  // What else the environment says of jobs (timeouts) holds.
  out.job = core::job();
  out.job.rank = static_cast<std::int32_t>(rank);
  out.job.ranks = static_cast<std::int32_t>(ranks);
  std::string text;
  if (rank == 0 && ranks > 1) {
    const std::string host = ranks_here == ranks && out.job.interface.empty()
                                 ? "127.0.0.1"
                                 : interface_address(out.job.interface);
    out.listener = listen_at(host, 0);
    text = core::text(host, " ", local_address(out.listener).port, " ", new_token());
  }
  char shared[512] = {};
  check(api->share(rank == 0 ? text.c_str() : nullptr, shared, sizeof shared), "PMIx_Fence");
  check(api->finalize(), "PMIx_Finalize");
  std::istringstream(shared) >> out.job.host >> out.job.port >> out.job.token;
  return out;
}

}  // namespace tessera::comm
