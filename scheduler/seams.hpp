#pragma once

#include "comm/transport.hpp"
#include "comm/world.hpp"
#include "core/clock.hpp"
#include "core/file_system.hpp"
#include "device/host_devices.hpp"
#include "kernels/registry.hpp"
#include "tessera/session.hpp"

struct TesseraCudaApi;
struct TesseraNcclApi;

namespace tessera::scheduler {

/// What a session reaches the machine through. Tests put in what fails at its n-th call, or a clock
/// of their own. Each outlives everything that was opened, made or computed through it.
struct Seams {
  const core::FileSystem* files = &core::posix_file_system();
  device::HostAllocator* allocator = &device::system_allocator();
  const core::Clock* clock = &core::machine_clock();
  comm::Transport* transport = &comm::local_transport();
  const kernels::Registry* kernels = &kernels::host_registry();
  comm::World* world = nullptr;  ///< null: the process's, joined when a session starts
  const TesseraCudaApi* cuda = nullptr;  ///< null: the CUDA module's, loaded when a session asks for one
  const TesseraNcclApi* nccl = nullptr;  ///< null: the NCCL module's, where several ranks have CUDA devices

  /// A session over these. \throws as Session's constructor.
  Session open(const SessionOptions& options) const;
  /// Those of this thread's innermost SessionScope, else the machine's.
  static const Seams& current() noexcept;
  /// A session's devices, into whose pools tests look.
  static const device::HostDevices& devices(const Session& session);
};

}  // namespace tessera::scheduler
