#include "comm/sockets/bootstrap.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "comm/sockets/peer_memory.hpp"
#include "comm/sockets/socket_messenger.hpp"
#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::comm {
namespace {

using Json = nlohmann::json;
constexpr int kProtocol = 3;
constexpr std::size_t kNonceBytes = 32;

Deadline after(double seconds) {
  return std::chrono::steady_clock::now() +
         std::chrono::duration_cast<std::chrono::steady_clock::duration>(
             std::chrono::duration<double>(seconds));
}

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "unknown";
}

std::string nonce() {
  std::string out(kNonceBytes, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(out.data()), kNonceBytes) != 1)
    throw CommError("[comm] random bytes are needed to join a job; got none from the system");
  return out;
}

std::string proof(const std::string& token, const std::string& of) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  HMAC(EVP_sha256(), token.data(), static_cast<int>(token.size()),
       reinterpret_cast<const unsigned char*>(of.data()), of.size(), digest, &size);
  return {reinterpret_cast<const char*>(digest), size};
}

bool same(const std::string& a, const std::string& b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

const char* const kWrongToken =
    "[comm] all ranks of a job know its token; got another one; try the same TESSERA_JOB_TOKEN on "
    "all ranks";

// Both ends send a number used once, and prove the token with both numbers and their side.
void prove(const Socket& socket, const std::string& token, bool listens, Deadline deadline) {
  const std::string mine = nonce();
  send_text(socket, mine, deadline);
  const std::string theirs = receive_text(socket, deadline);
  const std::string both = listens ? mine + theirs : theirs + mine;
  send_text(socket, proof(token, (listens ? "listens" : "connects") + both), deadline);
  const std::string answer = receive_text(socket, deadline);
  if (!same(answer, proof(token, (listens ? "connects" : "listens") + both)))
    throw CommError(kWrongToken);
}

Json receive(const Socket& socket, Deadline deadline) {
  const Json message = Json::parse(receive_text(socket, deadline), nullptr, false);
  if (!message.is_object()) throw CommError("[comm] what joins must be a rank; got another text");
  if (message.contains("refused")) throw CommError(message["refused"].get<std::string>());
  return message;
}

class Joining {
 public:
  using Carrier = std::function<std::string(const LocalAddress&)>;
  Joining(const core::Job& job, const RankCard& card, Socket listener, const Carrier& carrier)
      : job_(job),
        card_(card),
        carrier_(carrier),
        listener_(std::move(listener)),
        deadline_(after(job.join_s)),
        sockets_(static_cast<std::size_t>(job.ranks)),
        rows_(sockets_.size()) {}

  Meeting meet() {
    job_.rank == 0 ? gather() : come();
    Meeting out;
    for (const Json& row : rows_) {
      out.hosts.push_back(row["host"].get<std::string>());
      out.carriers.push_back(row["carrier"].get<std::string>());
      out.devices.push_back(row["devices"].get<std::string>());
      out.device_bytes.push_back(row["device_bytes"].get<std::size_t>());
    }
    out.options.silence =
        std::chrono::milliseconds(static_cast<std::int64_t>(1000 * job_.silence_s));
    out.options.heartbeat = std::clamp(out.options.silence / 5, std::chrono::milliseconds(20),
                                       std::chrono::milliseconds(1000));
    out.options.readable = readable();
    out.sockets = std::move(sockets_);
    out.number = number_;
    return out;
  }

 private:
  Json hello(const LocalAddress& address) const {
    Json out = {{"protocol", kProtocol},    {"build", card_.build},
                {"ranks", job_.ranks},      {"rank", job_.rank},
                {"host", host_name()},      {"address", address.host},
                {"port", address.port},     {"carrier", carrier_(address)},
                {"devices", card_.devices}, {"device_bytes", card_.device_bytes}};
    if (job_.carrier == core::Carrier::kAuto) {
      const MemoryPass pass = memory_pass();
      out["memory"] = {pass.machine, pass.process, pass.probe_address, pass.probe};
    }
    return out;
  }

  // The processes whose memory this one can read, by rank.
  std::vector<pid_t> readable() const {
    std::vector<pid_t> out(rows_.size(), 0);
    if (job_.carrier != core::Carrier::kAuto) return out;
    for (std::size_t r = 0; r < rows_.size(); ++r) {
      if (r == static_cast<std::size_t>(job_.rank) || !rows_[r].contains("memory")) continue;
      const auto& [machine, process, address, probe] =
          rows_[r]["memory"]
              .get<std::tuple<std::string, std::int64_t, std::uint64_t, std::uint64_t>>();
      if (can_read({machine, process, address, probe})) out[r] = static_cast<pid_t>(process);
    }
    return out;
  }

  void need_token(const LocalAddress& address) const {
    if (address.loopback || !job_.token.empty()) return;
    throw InvalidArgument(
        core::text("[TESSERA_JOB_TOKEN] a job beyond one machine needs a secret that its ranks "
                   "know; got none for ",
                   job_.host, "; try TESSERA_JOB_TOKEN=$(openssl rand -hex 32) on all ranks"));
  }

  // The port may be another program's for a moment.
  Socket listen_soon() const {
    const Deadline soon = std::min(deadline_, after(3.0));
    for (;;) {
      try {
        return listen_at(job_.host, job_.port);
      } catch (const CommError&) {
        if (std::chrono::steady_clock::now() >= soon) throw;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }

  // Rank 0. What is wrong with one rank is told to all that have come.
  void gather() {
    const Socket listener = listener_ ? std::move(listener_) : listen_soon();
    need_token(local_address(listener));
    rows_[0] = hello(local_address(listener));
    try {
      for (std::size_t come = 1; come < sockets_.size();) {
        Socket socket = accept_until(listener, deadline_);
        if (!socket) throw CommError(missing());
        come += admit(std::move(socket)) ? 1 : 0;
      }
    } catch (const Error& e) {
      for (const Socket& socket : sockets_) {
        if (socket) refuse(socket, e.what());
      }
      throw;
    }
    const std::string bytes = nonce();
    for (const char c : bytes) number_ = number_ * 257 + static_cast<unsigned char>(c);
    const std::string table = Json{{"table", rows_}, {"number", number_}}.dump();
    for (const Socket& socket : sockets_) {
      if (socket) send_text(socket, table, deadline_);
    }
  }

  // Whether it is a rank: who does not speak the protocol, or knows no token, is turned away alone.
  bool admit(Socket socket) {
    const Deadline soon = std::min(deadline_, after(5.0));
    Json row;
    std::string what;
    try {
      prove(socket, job_.token, true, soon);
      row = receive(socket, soon);
      what = wrong(row);
      row.at("host").get<std::string>();
      row.at("address").get<std::string>();
      row.at("carrier").get<std::string>();
      row.at("devices").get<std::string>();
      row.at("device_bytes").get<std::size_t>();
      row.at("port").get<std::uint16_t>();
    } catch (const Json::exception&) {
      return false;  // its words are not a rank's
    } catch (const CommError& e) {
      if (std::string(e.what()) == kWrongToken) throw;
      return false;
    }
    if (!what.empty()) {
      refuse(socket, what);
      throw CommError(what);
    }
    const auto rank = row["rank"].get<std::size_t>();
    rows_[rank] = std::move(row);
    sockets_[rank] = std::move(socket);
    return true;
  }

  std::string wrong(const Json& row) const {
    const auto rank = row.value("rank", -1);
    const std::string where =
        core::text("rank ", rank, " on ", row.value("host", "an unknown host"));
    if (row.value("protocol", 0) != kProtocol || row.value("build", "") != card_.build) {
      return core::text("[comm] all ranks run the same build; got ",
                        row.value("build", "another one"), " of ", where, " and ", card_.build,
                        " of rank 0");
    }
    if (row.value("ranks", 0) != job_.ranks) {
      return core::text("[comm] all ranks count the same ranks; got ", row.value("ranks", 0),
                        " of ", where, " and ", job_.ranks,
                        " of rank 0; try the same TESSERA_WORLD_SIZE on all ranks");
    }
    if (rank < 1 || rank >= job_.ranks)
      return core::text("[comm] ranks go from 0 to ", job_.ranks - 1, "; got ", where);
    if (sockets_[static_cast<std::size_t>(rank)]) {
      return core::text("[comm] each rank is there once; got ", where, " and another one on ",
                        rows_[static_cast<std::size_t>(rank)]["host"].get<std::string>(),
                        "; try another TESSERA_RANK for one of them");
    }
    return {};
  }

  std::string missing() const {
    std::string list;
    for (std::size_t r = 1; r < sockets_.size(); ++r) {
      if (!sockets_[r]) list += core::text(list.empty() ? "" : ", ", r);
    }
    return core::text("[comm] all ranks come to ", job_.host, ":", job_.port, " within ",
                      job_.join_s, " s; got none of ", list, "; try a longer TESSERA_JOIN_TIMEOUT");
  }

  static void refuse(const Socket& socket, const std::string& why) {
    try {
      send_text(socket, Json{{"refused", why}}.dump(), after(1.0));
    } catch (const CommError&) {
      // It hears of it by the connection that closes.
    }
  }

  // The other ranks: each connects with those below it.
  void come() {
    Socket first = connect_until(job_.host, job_.port, deadline_);
    const LocalAddress here = local_address(first);
    need_token(here);
    const Socket listener =
        listen_at(job_.interface.empty() ? here.host : interface_address(job_.interface), 0);
    need_token(local_address(listener));
    prove(first, job_.token, false, deadline_);
    send_text(first, hello(local_address(listener)).dump(), deadline_);
    // Rank 0 answers when all have come.
    const Json answer = receive(first, deadline_ + std::chrono::seconds(5));
    rows_ = answer["table"].get<std::vector<Json>>();
    number_ = answer["number"].get<std::uint64_t>();
    sockets_[0] = std::move(first);
    for (std::int32_t r = 1; r < job_.rank; ++r) {
      const Json& row = rows_[static_cast<std::size_t>(r)];
      Socket socket = connect_until(row["address"].get<std::string>(),
                                    row["port"].get<std::uint16_t>(), deadline_);
      prove(socket, job_.token, false, deadline_);
      send_text(socket, Json{{"rank", job_.rank}}.dump(), deadline_);
      sockets_[static_cast<std::size_t>(r)] = std::move(socket);
    }
    for (std::int32_t left = job_.ranks - 1 - job_.rank; left > 0;) {
      Socket socket = accept_until(listener, deadline_);
      if (!socket)
        throw CommError(core::text("[comm] ranks connect with each other in time; rank ", job_.rank,
                                   " lacks ", left, " of them; try a longer TESSERA_JOIN_TIMEOUT"));
      try {
        prove(socket, job_.token, true, std::min(deadline_, after(5.0)));
        const auto rank = receive(socket, deadline_)["rank"].get<std::int32_t>();
        if (rank <= job_.rank || rank >= job_.ranks || sockets_[static_cast<std::size_t>(rank)])
          continue;
        sockets_[static_cast<std::size_t>(rank)] = std::move(socket);
        --left;
      } catch (const std::exception&) {
        continue;  // no rank of this job
      }
    }
  }

  const core::Job& job_;
  const RankCard& card_;
  const Carrier& carrier_;
  Socket listener_;
  const Deadline deadline_;
  std::vector<Socket> sockets_;
  std::vector<Json> rows_;
  std::uint64_t number_ = 0;
};

}  // namespace

Meeting meet(const core::Job& job, const RankCard& card, Socket listener,
             const std::function<std::string(const LocalAddress&)>& carrier) {
  return Joining(job, card, std::move(listener), carrier).meet();
}

std::string new_token() {
  std::string out;
  for (const char c : nonce()) {
    const auto byte = static_cast<unsigned char>(c);
    out += "0123456789abcdef"[byte >> 4];
    out += "0123456789abcdef"[byte & 15];
  }
  return out;
}

}  // namespace tessera::comm
