#include "comm/joined_world.hpp"

#include <utility>
#include <vector>

#include "comm/sockets/bootstrap.hpp"
#include "comm/ucx/ucx_library.hpp"
#include "comm/ucx/ucx_messenger.hpp"
#include "core/environment.hpp"
#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::comm {
namespace {

class JoinedWorld final : public World {
 public:
  JoinedWorld(Rank rank, Meeting&& met, bool recovers, std::unique_ptr<Messenger> messenger)
      : rank_(rank),
        hosts_(std::move(met.hosts)),
        devices_(std::move(met.devices)),
        device_bytes_(std::move(met.device_bytes)),
        number_(met.number),
        recovers_(recovers),
        messenger_(std::move(messenger)) {}
  Rank rank() const noexcept override { return rank_; }
  std::int32_t ranks() const noexcept override { return static_cast<std::int32_t>(hosts_.size()); }
  const std::string& host(Rank rank) const override {
    return hosts_[static_cast<std::size_t>(rank.number)];
  }
  const std::string& devices(Rank rank) const override {
    return devices_[static_cast<std::size_t>(rank.number)];
  }
  std::size_t device_bytes(Rank rank) const override {
    return device_bytes_[static_cast<std::size_t>(rank.number)];
  }
  std::uint64_t job_number() const noexcept override { return number_; }
  bool recovers() const noexcept override { return recovers_; }
  Messenger* messenger() noexcept override { return messenger_.get(); }

 private:
  const Rank rank_;
  const std::vector<std::string> hosts_;
  const std::vector<std::string> devices_;
  const std::vector<std::size_t> device_bytes_;
  const std::uint64_t number_;
  const bool recovers_;
  const std::unique_ptr<Messenger> messenger_;
};

// Null where the job goes without.
std::unique_ptr<UcxMessenger> open_ucx(const core::Job& job, const LocalAddress& address) {
  const bool asked_for = job.carrier == core::Carrier::kUcx;
  if (!asked_for && (job.carrier == core::Carrier::kTcp || address.loopback || !has_rdma_network()))
    return nullptr;
  std::string problem;
  try {
    if (address.host == "0.0.0.0" || address.host == "::") {
      problem = "this rank waits at all of its addresses; try a TESSERA_RENDEZVOUS that names one";
    } else if (const TesseraUcxApi* api = find_ucx(problem)) {
      return std::make_unique<UcxMessenger>(*api, address.loopback ? "lo" : nullptr, address.host);
    }
  } catch (const CommError& e) {
    problem = e.what();
  }
  if (asked_for) {
    throw CommError(core::text("[TESSERA_TRANSPORT] ucx needs UCX and its module; got ", problem,
                               "; try TESSERA_TRANSPORT=auto"));
  }
  core::log(core::LogLevel::kWarning,
            core::text("blocks go over TCP, although there is an RDMA network: ", problem));
  return nullptr;
}

}  // namespace

std::unique_ptr<World> join(const core::Job& job, const RankCard& card, Socket listener) {
  std::unique_ptr<UcxMessenger> ucx;
  Meeting met = meet(job, card, std::move(listener), [&](const LocalAddress& address) {
    ucx = open_ucx(job, address);
    return ucx != nullptr ? ucx->address() : std::string();
  });
  const Rank rank{job.rank};
  auto sockets =
      std::make_unique<SocketMessenger>(rank, std::move(met.sockets), met.hosts, met.options);
  std::unique_ptr<Messenger> messenger;
  if (ucx != nullptr) {
    ucx->connect(std::move(sockets), met.carriers, met.hosts, met.number);
    messenger = std::move(ucx);
  } else {
    messenger = std::move(sockets);
  }
  return std::make_unique<JoinedWorld>(rank, std::move(met), job.recover, std::move(messenger));
}

}  // namespace tessera::comm
