#pragma once

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <string>
#include <vector>

#include "core/file_system.hpp"

namespace tessera::core {

/// A fault: call number `nth` (from 1, of all system calls) gives `error`. A persistent fault hits
/// every later call too. `error` 0 means a short transfer: reads and writes move one byte fewer
/// than half.
struct Fault {
  std::uint64_t nth = 0;
  int error = EIO;
  bool persistent = false;
};

/// Real system calls, of which the n-th fails. close() is counted and reports the error, but still
/// closes.
class FaultyCalls : public SystemCalls {
 public:
  explicit FaultyCalls(Fault fault) : fault_(fault), real_(posix_system_calls()) {}

  /// Another fault, its call counted from now on. While no other thread makes calls.
  void arm(Fault fault) {
    fault_ = fault;
    count_ = 0;
    fired_ = false;
  }
  /// System calls so far.
  std::uint64_t calls() const { return count_.load(); }
  /// Whether the fault has happened.
  bool fired() const { return fired_.load(); }

  int open(const char* path, int flags, unsigned mode) override {
    const int error = next();
    return error != 0 ? error : real_.open(path, flags, mode);
  }
  int close(int handle) override {
    const int error = next();
    const int result = real_.close(handle);
    return error != 0 ? error : result;
  }
  ssize_t pread(int handle, void* out, std::size_t size_bytes, std::int64_t offset) override {
    const int error = next();
    return error != 0 ? error : real_.pread(handle, out, shortened(size_bytes), offset);
  }
  ssize_t pwrite(int handle, const void* in, std::size_t size_bytes, std::int64_t offset) override {
    const int error = next();
    return error != 0 ? error : real_.pwrite(handle, in, shortened(size_bytes), offset);
  }
  int fsync(int handle) override {
    const int error = next();
    return error != 0 ? error : real_.fsync(handle);
  }
  int ftruncate(int handle, std::int64_t size_bytes) override {
    const int error = next();
    return error != 0 ? error : real_.ftruncate(handle, size_bytes);
  }
  int fallocate(int handle, std::int64_t size_bytes) override {
    const int error = next();
    return error != 0 ? error : real_.fallocate(handle, size_bytes);
  }
  int fstat(int handle, FileStatus& out) override {
    const int error = next();
    return error != 0 ? error : real_.fstat(handle, out);
  }
  int stat(const char* path, FileStatus& out) override {
    const int error = next();
    return error != 0 ? error : real_.stat(path, out);
  }
  int readlink(const char* path, std::string& target) override {
    const int error = next();
    return error != 0 ? error : real_.readlink(path, target);
  }
  int rename(const char* from, const char* to) override {
    const int error = next();
    return error != 0 ? error : real_.rename(from, to);
  }
  int unlink(const char* path) override {
    // Which a full disk does not prevent.
    const int error = next();
    return error != 0 && error != -ENOSPC ? error : real_.unlink(path);
  }
  int mkdir(const char* path) override {
    const int error = next();
    return error != 0 ? error : real_.mkdir(path);
  }
  int rmdir(const char* path) override {
    const int error = next();
    return error != 0 && error != -ENOSPC ? error : real_.rmdir(path);
  }
  int list(const char* path, std::vector<std::string>& names) override {
    const int error = next();
    return error != 0 && error != -ENOSPC ? error : real_.list(path, names);
  }
  int free_space(const char* path, std::uint64_t& bytes) override {
    const int error = next();
    return error != 0 ? error : real_.free_space(path, bytes);
  }

 private:
  int next() {
    const std::uint64_t number = ++count_;
    const bool hit =
        fault_.nth != 0 && (number == fault_.nth || (fault_.persistent && number > fault_.nth));
    if (hit) fired_ = true;
    short_now() = hit && fault_.error == 0;
    return hit ? -fault_.error : 0;
  }
  static bool& short_now() {
    static thread_local bool value = false;
    return value;
  }
  static std::size_t shortened(std::size_t size_bytes) {
    return short_now() ? std::max<std::size_t>(1, size_bytes / 2 - (size_bytes > 2 ? 1 : 0))
                       : size_bytes;
  }

  Fault fault_;
  SystemCalls& real_;
  std::atomic<std::uint64_t> count_{0};
  std::atomic<bool> fired_{false};
};

/// Holds the calls of a FaultyFileSystem, which must exist before its base.
struct FaultyCallsHolder {
  FaultyCalls faulty;
};

/// The file system with a fault in it; without one it only counts calls.
class FaultyFileSystem : private FaultyCallsHolder, public FileSystem {
 public:
  explicit FaultyFileSystem(Fault fault = {})
      : FaultyCallsHolder{FaultyCalls(fault)}, FileSystem(faulty) {}
  FaultyFileSystem(const FaultyFileSystem&) = delete;
  FaultyFileSystem& operator=(const FaultyFileSystem&) = delete;
  /// Another fault, its call counted from now on. While no other thread makes calls.
  void arm(Fault fault) { faulty.arm(fault); }
  /// System calls so far.
  std::uint64_t calls() const { return faulty.calls(); }
  /// Whether the fault has happened.
  bool fired() const { return faulty.fired(); }
};

}  // namespace tessera::core
