#pragma once

#include <cstdint>
#include <optional>
#include <string>

// What the environment says of the processes that compute together. Owned: the variables, this
// library's and the launchers'. Not owned: how ranks meet (comm/).

namespace tessera::core {

/// What carries blocks between ranks. kAuto: what is there and faster than TCP.
enum class Carrier : std::uint8_t { kAuto, kTcp, kUcx };

/// The job that this process is one rank of, by the variables of whatever launched it.
struct Job {
  std::int32_t rank = 0;
  std::int32_t ranks = 1;
  std::string host;  ///< of the rendezvous, where rank 0 listens
  std::uint16_t port = 0;
  std::string
      interface;  ///< network interface that other ranks connect to, empty: the rendezvous's
  std::string token;        ///< secret of the job, empty: none
  double silence_s = 10.0;  ///< after which a rank that says nothing is lost
  double join_s = 60.0;     ///< in which all ranks must come
  Carrier carrier = Carrier::kAuto;
  bool recover = false;  ///< ranks that are left go on when others are lost
};

/// Of the process. \throws InvalidArgument for variables that contradict each other or cannot be
/// meant, and for a token file that others could read.
const Job& job();
/// Parses a set of variables, as parse_environment().
Job parse_job(const char* (*get)(const char* name));
/// What unseeded random arrays start from: TESSERA_SEED, else a number that all ranks of a job
/// agree on. Nothing otherwise.
std::optional<std::uint64_t> shared_seed();

}  // namespace tessera::core
