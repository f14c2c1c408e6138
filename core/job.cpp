#include "core/job.hpp"

#include <sys/stat.h>
#include <xxhash.h>

#include <array>
#include <cctype>
#include <cstdlib>
#include <fstream>

#include "core/environment.hpp"
#include "core/parse_number.hpp"
#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::core {
namespace {

using Get = const char* (*)(const char*);

constexpr std::int32_t kMostRanks = 1 << 20;

// The first of these variables that is set.
struct Found {
  const char* name = nullptr;
  std::string value;
  explicit operator bool() const noexcept { return name != nullptr; }
};

template <std::size_t N>
Found find(Get get, const std::array<const char*, N>& names) {
  for (const char* name : names) {
    if (const char* value = get(name)) return {name, value};
  }
  return {};
}

void set_rendezvous(Get get, Job& out) {
  if (const char* v = get("TESSERA_RENDEZVOUS")) {
    const std::string text = v;
    const std::size_t colon = text.rfind(':');
    if (colon == std::string::npos || colon == 0) {
      throw InvalidArgument(
          core::text("[TESSERA_RENDEZVOUS] host:port; got \"", text, "\"; try node1:29400"));
    }
    out.host = text.substr(0, colon);
    if (out.host.front() == '[' && out.host.back() == ']')
      out.host = out.host.substr(1, out.host.size() - 2);
    out.port = parse_number<std::uint16_t>("TESSERA_RENDEZVOUS", text.substr(colon + 1), 1, 65535);
    return;
  }
  const char* host = get("MASTER_ADDR");
  const char* port = get("MASTER_PORT");
  if (host == nullptr || port == nullptr) return;
  out.host = host;
  out.port = parse_number<std::uint16_t>("MASTER_PORT", port, 1, 65535);
}

std::string read_token(Get get) {
  std::string token;
  if (const char* v = get("TESSERA_JOB_TOKEN")) {
    token = v;
  } else if (const char* file = get("TESSERA_JOB_TOKEN_FILE")) {
    struct stat status {};
    if (::stat(file, &status) != 0) {
      throw InvalidArgument(core::text("[TESSERA_JOB_TOKEN_FILE] the file must exist; got ", file));
    }
    if ((status.st_mode & 077) != 0) {
      throw InvalidArgument(
          core::text("[TESSERA_JOB_TOKEN_FILE] only its owner may read the file; got ", file,
                     "; try chmod 600"));
    }
    std::ifstream in(file);
    in >> token;
  } else {
    return {};
  }
  bool hex = token.size() == 64;
  for (const char c : token) hex = hex && std::isxdigit(static_cast<unsigned char>(c)) != 0;
  if (!hex) {
    throw InvalidArgument(core::text("[TESSERA_JOB_TOKEN] a token has 64 hexadecimal digits; got ",
                                     token.size(), " characters; try `openssl rand -hex 32`"));
  }
  return token;
}

std::optional<double> seconds(Get get, const char* name) {
  const char* v = get(name);
  if (v == nullptr) return std::nullopt;
  return parse_number<double>(name, v, 0.05, 1e6);
}

Carrier read_carrier(Get get) {
  const char* v = get("TESSERA_TRANSPORT");
  const std::string text = v == nullptr ? "auto" : v;
  if (text == "auto") return Carrier::kAuto;
  if (text == "tcp") return Carrier::kTcp;
  if (text == "ucx") return Carrier::kUcx;
  throw InvalidArgument(
      core::text("[TESSERA_TRANSPORT] auto, tcp or ucx; got \"", text, "\"; try auto"));
}

// Launchers that end all processes when one dies leave nobody to go on.
bool read_on_loss(Get get) {
  constexpr const char* kName = "TESSERA_ON_RANK_LOSS";
  const char* v = get(kName);
  const std::string text = v == nullptr ? "fail" : v;
  if (text == "fail") return false;
  if (text != "recover") {
    throw InvalidArgument(
        core::text("[", kName, "] fail or recover; got \"", text, "\"; try fail"));
  }
  const char* enabled = get("OMPI_MCA_orte_enable_recovery");
  const bool goes_on =
      enabled != nullptr && (std::string(enabled) == "1" || std::string(enabled) == "true");
  const char* launcher = nullptr;
  const char* line = nullptr;
  if (get("OMPI_COMM_WORLD_RANK") != nullptr) {
    launcher = "mpirun";
    line = "mpirun --mca orte_enable_recovery 1 ...";
  } else if (get("PMIX_RANK") != nullptr) {
    launcher = get("SLURM_PROCID") != nullptr ? "srun with PMIx" : "a PMIx launcher";
    line = "srun --mpi=none --kill-on-bad-exit=0 ...";
  }
  if (launcher == nullptr || goes_on) return true;
  throw InvalidArgument(core::text("[", kName, "] recover needs a launcher that lets the other ",
                                   "processes live when one dies; got ", launcher, "; try ", line));
}

// What holds for the ranks of a job wherever they come from.
void read_common(Get get, Job& out) {
  if (const char* v = get("TESSERA_INTERFACE")) out.interface = v;
  out.silence_s = seconds(get, "TESSERA_RANK_TIMEOUT").value_or(out.silence_s);
  out.join_s = seconds(get, "TESSERA_JOIN_TIMEOUT").value_or(out.join_s);
  out.carrier = read_carrier(get);
  out.recover = read_on_loss(get);
}

}  // namespace

Job parse_job(Get get) {
  Job out;
  // torchrun's variables are generic names: they count only all together.
  const bool torchrun =
      get("RANK") && get("WORLD_SIZE") && get("MASTER_ADDR") && get("MASTER_PORT");
  set_rendezvous(get, out);
  Found rank = find(get, std::array{"TESSERA_RANK"});
  Found size = find(get, std::array{"TESSERA_WORLD_SIZE"});
  if (!rank && torchrun) rank = find(get, std::array{"RANK"});
  if (!size && torchrun) size = find(get, std::array{"WORLD_SIZE"});
  // A launcher that numbers its processes is believed where somebody said where they meet.
  if (get("TESSERA_RENDEZVOUS") != nullptr) {
    if (!rank)
      rank = find(get, std::array{"PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID",
                                  "JOB_COMPLETION_INDEX"});
    if (!size) size = find(get, std::array{"OMPI_COMM_WORLD_SIZE", "SLURM_NTASKS"});
  }
  if (!rank && !size) {
    Job alone;  // unless a launcher says more later
    read_common(get, alone);
    return alone;
  }
  if (!rank || !size) {
    throw InvalidArgument(core::text("[", rank ? "TESSERA_WORLD_SIZE" : "TESSERA_RANK",
                                     "] a rank and the number of ranks are given together; got ",
                                     rank ? rank.name : size.name, "=",
                                     rank ? rank.value : size.value, " alone"));
  }
  out.ranks = parse_number<std::int32_t>(size.name, size.value, 1, kMostRanks);
  out.rank = parse_number<std::int32_t>(rank.name, rank.value, 0, out.ranks - 1);
  if (out.ranks > 1 && out.host.empty()) {
    throw InvalidArgument(
        core::text("[TESSERA_RENDEZVOUS] ranks must know where they meet; got ", out.ranks,
                   " ranks and no place; try TESSERA_RENDEZVOUS=host:port of the first"));
  }
  out.token = read_token(get);
  read_common(get, out);
  return out;
}

const Job& job() {
  static const Job kJob =
      parse_job([](const char* name) -> const char* { return std::getenv(name); });
  return kJob;
}

std::optional<std::uint64_t> shared_seed() {
  if (environment().seed) return environment().seed;
  const Job& of = job();
  // The name that a launcher gave the job, where only it knows the ranks.
  const char* launched = std::getenv("PMIX_NAMESPACE");
  if (of.ranks == 1 && launched == nullptr) return std::nullopt;
  const std::string known =
      core::text(of.token, of.host, of.port, of.ranks, launched != nullptr ? launched : "");
  return XXH3_64bits(known.data(), known.size());
}

}  // namespace tessera::core
