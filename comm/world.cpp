#include "comm/world.hpp"

#include <cstdlib>
#include <utility>

#include "comm/joined_world.hpp"
#include "comm/pmix/pmix_job.hpp"
#include "core/environment.hpp"
#include "core/job.hpp"
#include "core/text.hpp"

namespace tessera::comm {
namespace {

class LoneWorld final : public World {
 public:
  Rank rank() const noexcept override { return {}; }
  std::int32_t ranks() const noexcept override { return 1; }
  const std::string& host(Rank) const override { return host_; }
  std::uint64_t job_number() const noexcept override { return 0; }
  Messenger* messenger() noexcept override { return nullptr; }

 private:
  const std::string host_ = "this machine";
};

// A launcher started several processes, and nobody said where they meet.
void warn_of_lone_ranks() {
  for (const char* variable : {"OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"}) {
    const char* size = std::getenv(variable);
    if (size == nullptr || std::atoi(size) < 2 || std::getenv("TESSERA_WORLD_SIZE") != nullptr)
      continue;
    core::log(core::LogLevel::kWarning,
              core::text(variable, "=", size,
                         ", but these processes do not know each other: each computes alone; try ",
                         "TESSERA_RENDEZVOUS=host:port"));
    return;
  }
}

std::unique_ptr<World> make_world(const std::function<RankCard()>& card) {
  if (core::job().ranks > 1) return join(core::job(), card());
  std::optional<PmixJob> launched = pmix_job();
  if (!launched) warn_of_lone_ranks();
  if (!launched || launched->job.ranks == 1) return std::make_unique<LoneWorld>();
  return join(launched->job, card(), std::move(launched->listener));
}

}  // namespace

World& process_world(const std::function<RankCard()>& card) {
  static const std::unique_ptr<World> world = make_world(card);
  return *world;
}

}  // namespace tessera::comm
