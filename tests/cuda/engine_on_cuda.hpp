#pragma once

#include <string>
#include <vector>

#include "scheduler/seams.hpp"
#include "tests/scheduler/engine_workloads.hpp"

// The engine's workloads on CUDA devices, whichever table of CUDA functions a Seams holds: the real one's or
// a simulated machine's.

namespace tessera::testing {

/// Beside workloads(): views, sources in memory, factorisations, functions of the user.
const std::vector<Workload>& more_workloads();
/// Hundreds of kernels: every dtype, complex numbers, elementary functions.
const std::vector<Workload>& many_kernels();

std::vector<HostArray> run_on(const scheduler::Seams& seams, const SessionOptions& options,
                              const Workload& workload, RunReport* report = nullptr);

/// Options of a session with room for everything.
SessionOptions ample(const std::string& devices);

/// What the host computes and what another device kind does: integers and bools are equal, floats agree within
/// what different sums and elementary functions may differ by.
void expect_close(const std::vector<HostArray>& wanted, const std::vector<HostArray>& got,
                  const std::string& what);
void expect_same_bits(const std::vector<HostArray>& wanted, const std::vector<HostArray>& got,
                      const std::string& what);

/// Holds elementary functions on a device to what docs/accuracy.md says of them beside the host's,
/// give or take `more` units.
void expect_within_bounds(const scheduler::Seams& seams, const std::string& devices,
                          double more = 0);

}  // namespace tessera::testing
