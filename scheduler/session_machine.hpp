#pragma once

#include "comm/world.hpp"
#include "device/host_devices.hpp"
#include "scheduler/seams.hpp"
#include "tessera/session.hpp"

// What of this machine a session takes: which devices, how much of each memory, how many cores. Options
// win over variables; what neither says follows from what is free, shared with the other ranks here.

namespace tessera::scheduler {

/// \throws InvalidArgument for options that cannot be meant; IoError when a spill folder that was named takes no
/// files.
device::HostDevicesOptions machine_options(const SessionOptions& options, const Seams& seams, const comm::World& world);

/// Memory for the result blocks of products on each rank: the same on all, whatever devices and variables each has.
std::size_t product_room(const SessionOptions& options, const comm::World& world);

/// The world of this process (comm::process_world), with what its ranks say of themselves.
comm::World& process_world();

}  // namespace tessera::scheduler
