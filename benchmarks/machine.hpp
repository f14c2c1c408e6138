#pragma once

#include <string>

namespace tessera::benchmarks {

/// Facts that every result is read with, as members of a JSON object: processor, cores, memory,
/// kind of device, SIMD target, BLAS, compiler, build type, version.
std::string machine_facts();

}  // namespace tessera::benchmarks
