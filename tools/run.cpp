#include "tools/run.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <thread>

#include "comm/sockets/bootstrap.hpp"
#include "comm/sockets/socket.hpp"
#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera {
namespace {

constexpr int kMostRanks = 4096;
constexpr std::chrono::seconds kGrace{5};
constexpr std::chrono::milliseconds kLook{5};

volatile sig_atomic_t asked_to_end = 0;
void ask_to_end(int signal) { asked_to_end = signal; }

pid_t start(const RunRanksOptions& options, int rank, int port, const std::string& token) {
  std::vector<char*> arguments;
  for (const std::string& word : options.command)
    arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  // Says why the program did not start; closed when it did.
  int report[2];
  if (::pipe2(report, O_CLOEXEC) != 0)
    throw Error(core::text("[run] a pipe is needed; got ", std::strerror(errno)));
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);
    ::setenv("TESSERA_RANK", std::to_string(rank).c_str(), 1);
    ::setenv("TESSERA_WORLD_SIZE", std::to_string(options.ranks).c_str(), 1);
    ::setenv("TESSERA_RENDEZVOUS", core::text("127.0.0.1:", port).c_str(), 1);
    ::setenv("TESSERA_JOB_TOKEN", token.c_str(), 1);
    if (!options.devices.empty()) ::setenv("TESSERA_DEVICES", options.devices.c_str(), 1);
    ::execvp(arguments[0], arguments.data());
    const int error = errno;
    [[maybe_unused]] const ssize_t n = ::write(report[1], &error, sizeof error);
    ::_exit(127);
  }
  ::close(report[1]);
  int error = child < 0 ? errno : 0;
  if (child > 0 && ::read(report[0], &error, sizeof error) <= 0) error = 0;
  ::close(report[0]);
  if (error == 0) return child;
  if (child > 0) ::waitpid(child, nullptr, 0);
  throw Error(core::text("[run] the program must start; got ", options.command[0], ": ",
                         std::strerror(error)));
}

void signal_all(const std::vector<pid_t>& children, int signal) {
  for (const pid_t child : children) {
    if (child > 0) ::kill(child, signal);
  }
}

int status_of(int wait_status) {
  return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
}

void end_all(std::vector<pid_t>& children) {
  signal_all(children, SIGKILL);
  for (pid_t& child : children) {
    if (child > 0) ::waitpid(child, nullptr, 0);
    child = -1;
  }
}

}  // namespace

int run_ranks(const RunRanksOptions& options) {
  if (options.ranks < 1 || options.ranks > kMostRanks)
    throw InvalidArgument(core::text("[run] ranks are 1 to ", kMostRanks, "; got ", options.ranks));
  if (options.command.empty())
    throw InvalidArgument("[run] a program is needed; got none; try tessera run -n 4 ./prog");
  // A port that is free now: rank 0 takes it a moment later.
  const int port = comm::local_address(comm::listen_at("127.0.0.1", 0)).port;
  const std::string token = comm::new_token();
  struct sigaction action {};
  action.sa_handler = ask_to_end;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(signal, &action, nullptr);
  std::vector<pid_t> children;
  try {
    for (int rank = 0; rank < options.ranks; ++rank)
      children.push_back(start(options, rank, port, token));
  } catch (...) {
    end_all(children);
    throw;
  }
  using Clock = std::chrono::steady_clock;
  const char* on_loss = std::getenv("TESSERA_ON_RANK_LOSS");
  const bool recovers = on_loss != nullptr && std::strcmp(on_loss, "recover") == 0;
  int status = 0;
  int lost = 0;  // what ended ranks that the others went on without
  int finished = 0;
  bool told_to_end = false;
  std::size_t left = children.size();
  Clock::time_point terminate = Clock::time_point::max();
  Clock::time_point kill = Clock::time_point::max();
  const auto hurry = [&](std::chrono::seconds grace) {
    terminate = std::min(terminate, Clock::now() + grace);
    kill = std::min(kill, Clock::now() + grace + kGrace);
  };
  while (left > 0) {
    for (std::size_t r = 0; r < children.size(); ++r) {
      int wait_status = 0;
      if (children[r] < 0 || ::waitpid(children[r], &wait_status, WNOHANG) <= 0) continue;
      children[r] = -1;
      --left;
      const int code = status_of(wait_status);
      if (code == 0) {
        ++finished;
        continue;
      }
      // A rank that a signal ended is why others fail, whichever is seen first.
      const bool killed = WIFSIGNALED(wait_status) && !told_to_end;
      if (killed) {
        std::cerr << core::text("tessera: rank ", r, " was ended by ",
                                ::strsignal(WTERMSIG(wait_status)), "\n");
      }
      if (killed && recovers) {
        lost = code;
        continue;
      }
      if (status == 0 || (killed && status < 128)) status = code;
      // It may have been given up: the others may go on for as long as they take. Where it has
      // failed, they come to know of it by themselves.
      if (!recovers) hurry(kGrace);
    }
    if (asked_to_end != 0) {
      if (status == 0) status = 128 + asked_to_end;
      told_to_end = true;
      signal_all(children, asked_to_end);
      asked_to_end = 0;
      hurry(kGrace);
    }
    if (Clock::now() >= terminate) {
      terminate = Clock::time_point::max();
      told_to_end = true;
      signal_all(children, SIGTERM);
    }
    if (Clock::now() >= kill) {
      kill = Clock::time_point::max();
      signal_all(children, SIGKILL);
    }
    if (left > 0) std::this_thread::sleep_for(kLook);
  }
  return status == 0 && 2 * finished <= options.ranks ? lost : status;
}

}  // namespace tessera
