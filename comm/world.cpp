#include "comm/world.hpp"

#include <utility>

#include "comm/pmix/pmix_job.hpp"
#include "comm/sockets/bootstrap.hpp"
#include "core/environment.hpp"

namespace tessera::comm {
namespace {

class LoneWorld final : public World {
 public:
  Rank rank() const noexcept override { return {}; }
  std::int32_t ranks() const noexcept override { return 1; }
  const std::string& host(Rank) const override { return host_; }
  std::uint64_t shared_seed() const noexcept override { return 0; }
  Messenger* messenger() noexcept override { return nullptr; }

 private:
  const std::string host_ = "this machine";
};

std::unique_ptr<World> make_world(const std::string& build) {
  if (core::job().ranks > 1) return join(core::job(), build);
  std::optional<PmixJob> launched = pmix_job();
  if (!launched || launched->job.ranks == 1) return std::make_unique<LoneWorld>();
  return join(launched->job, build, std::move(launched->listener));
}

}  // namespace

World& process_world(const std::string& build) {
  static const std::unique_ptr<World> world = make_world(build);
  return *world;
}

}  // namespace tessera::comm
