#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>

#include "core/file_system.hpp"

namespace tessera::core {
namespace {

void fill(FileStatus& out, const struct stat& from) {
  out.size_bytes = static_cast<std::uint64_t>(from.st_size);
  out.mtime_ns = std::int64_t{from.st_mtim.tv_sec} * 1'000'000'000 + from.st_mtim.tv_nsec;
  out.is_directory = S_ISDIR(from.st_mode);
  out.is_regular = S_ISREG(from.st_mode);
}

class PosixCalls final : public SystemCalls {
 public:
  int open(const char* path, int flags, unsigned mode) override {
    return checked(::open(path, flags | O_CLOEXEC, mode));
  }
  int close(int handle) override { return checked(::close(handle)); }
  ssize_t pread(int handle, void* out, std::size_t size_bytes, std::int64_t offset) override {
    return checked(::pread(handle, out, size_bytes, offset));
  }
  ssize_t pwrite(int handle, const void* in, std::size_t size_bytes, std::int64_t offset) override {
    return checked(::pwrite(handle, in, size_bytes, offset));
  }
  int fsync(int handle) override { return checked(::fsync(handle)); }
  int ftruncate(int handle, std::int64_t size_bytes) override {
    return checked(::ftruncate(handle, size_bytes));
  }
  int fallocate(int handle, std::int64_t size_bytes) override {
    return checked(::fallocate(handle, 0, 0, size_bytes));
  }
  int fstat(int handle, FileStatus& out) override {
    struct stat status {};
    const int result = checked(::fstat(handle, &status));
    fill(out, status);
    return result;
  }
  int stat(const char* path, FileStatus& out) override {
    struct stat status {};
    const int result = checked(::stat(path, &status));
    fill(out, status);
    return result;
  }
  int readlink(const char* path, std::string& target) override {
    char name[PATH_MAX];
    const auto length = checked(::readlink(path, name, sizeof name));
    if (length < 0) return static_cast<int>(length);
    target.assign(name, static_cast<std::size_t>(length));
    return 0;
  }
  int rename(const char* from, const char* to) override { return checked(::rename(from, to)); }
  int unlink(const char* path) override { return checked(::unlink(path)); }
  int mkdir(const char* path) override { return checked(::mkdir(path, 0777)); }
  int rmdir(const char* path) override { return checked(::rmdir(path)); }
  int list(const char* path, std::vector<std::string>& names) override {
    DIR* folder = ::opendir(path);
    if (folder == nullptr) return -errno;
    errno = 0;
    while (const dirent* entry = ::readdir(folder)) {
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
      errno = 0;
    }
    const int error = errno;
    ::closedir(folder);
    return -error;
  }
  int free_space(const char* path, std::uint64_t& bytes) override {
    struct statvfs status {};
    const int result = checked(::statvfs(path, &status));
    bytes = std::uint64_t{status.f_bavail} * status.f_frsize;
    return result;
  }

 private:
  template <typename T>
  static T checked(T result) noexcept {
    return result < 0 ? static_cast<T>(-errno) : result;
  }
};

}  // namespace

SystemCalls& posix_system_calls() {
  static PosixCalls calls;
  return calls;
}

const FileSystem& posix_file_system() {
  static const FileSystem file_system(posix_system_calls());
  return file_system;
}

}  // namespace tessera::core
