#include "comm/sockets/peer_memory.hpp"

#include <sys/prctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>

#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::comm {
namespace {

std::string first_line(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string this_machine() {
  char space[64] = {};
  if (::readlink("/proc/self/ns/pid", space, sizeof space - 1) <= 0) return {};
  const std::string boot = first_line("/proc/sys/kernel/random/boot_id");
  return boot.empty() ? std::string() : core::text(boot, " ", space, " ", ::geteuid());
}

ssize_t copy(pid_t process, std::uint64_t from, void* to, std::size_t bytes) {
  const iovec here{to, bytes};
  const iovec there{reinterpret_cast<void*>(from), bytes};
  return ::process_vm_readv(process, &here, 1, &there, 1, 0);
}

}  // namespace

MemoryPass memory_pass() {
  static const std::uint64_t probe = [] {
    std::random_device random;
    return (std::uint64_t{random()} << 32) | random();
  }();
  if (first_line("/proc/sys/kernel/yama/ptrace_scope") == "1")
    ::prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
  return {this_machine(), ::getpid(), reinterpret_cast<std::uint64_t>(&probe), probe};
}

bool can_read(const MemoryPass& pass) {
  if (pass.machine.empty() || pass.machine != this_machine()) return false;
  std::uint64_t found = 0;
  const ssize_t n =
      copy(static_cast<pid_t>(pass.process), pass.probe_address, &found, sizeof found);
  return n == static_cast<ssize_t>(sizeof found) && found == pass.probe;
}

bool read_memory(pid_t process, std::uint64_t from, std::byte* to, std::size_t bytes) {
  while (bytes > 0) {
    const ssize_t n = copy(process, from, to, bytes);
    if (n < 0 && errno == EFAULT) return false;
    if (n <= 0)
      throw CommError(core::text("its memory cannot be read: ",
                                 n < 0 ? std::strerror(errno) : "nothing is there"));
    from += static_cast<std::uint64_t>(n);
    to += n;
    bytes -= static_cast<std::size_t>(n);
  }
  return true;
}

}  // namespace tessera::comm
