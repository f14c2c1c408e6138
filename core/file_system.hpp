#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/export.hpp"

// Every byte the library reads from or writes to a file passes here. Owned: open handles, the loops
// over short and interrupted transfers, error texts, and the rule that a finished file appears
// under its name in one step (AtomicFile). Not owned: formats, caching, threads, paths relative to
// anything but the working directory. The system calls lie behind SystemCalls, so that tests make
// the n-th one fail while everything above runs unchanged. Vendor libraries that open files
// themselves (netCDF) are the exception.

namespace tessera::core {

/// What the file system says about one path.
struct FileStatus {
  std::uint64_t size_bytes = 0;
  std::int64_t mtime_ns = 0;
  bool is_directory = false;
  bool is_regular = false;  ///< an ordinary file: no folder, device, pipe or socket
  bool operator==(const FileStatus&) const = default;
};

/// The system calls below FileSystem. Each gives a count or handle (0 or more), or -errno.
class SystemCalls {
 public:
  virtual ~SystemCalls() = default;
  virtual int open(const char* path, int flags, unsigned mode) = 0;
  virtual int close(int handle) = 0;
  virtual ssize_t pread(int handle, void* out, std::size_t size_bytes, std::int64_t offset) = 0;
  virtual ssize_t pwrite(int handle, const void* in, std::size_t size_bytes,
                         std::int64_t offset) = 0;
  virtual int fsync(int handle) = 0;
  virtual int ftruncate(int handle, std::int64_t size_bytes) = 0;
  virtual int fallocate(int handle, std::int64_t size_bytes) = 0;
  virtual int fstat(int handle, FileStatus& out) = 0;
  virtual int stat(const char* path, FileStatus& out) = 0;
  virtual int readlink(const char* path, std::string& target) = 0;
  virtual int rename(const char* from, const char* to) = 0;
  virtual int unlink(const char* path) = 0;
  virtual int mkdir(const char* path) = 0;
  virtual int rmdir(const char* path) = 0;
  virtual int list(const char* path, std::vector<std::string>& names) = 0;
  virtual int free_space(const char* path, std::uint64_t& bytes) = 0;
};

/// An open file. Closing in the destructor ignores errors: a writer calls fsync() and close().
/// Reads and writes at offsets may come from several threads at once.
class File {
 public:
  File() = default;
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File();

  bool is_open() const noexcept { return handle_ >= 0; }
  const std::string& path() const noexcept { return path_; }

  /// Fills `out` from `offset`. \throws IoError when the file ends earlier or a read fails.
  void pread_all(void* out, std::size_t size_bytes, std::uint64_t offset) const;
  /// Bytes read from `offset`, fewer than `size_bytes` only at the end of the file.
  std::size_t pread_up_to(void* out, std::size_t size_bytes, std::uint64_t offset) const;
  /// Writes all of `in` at `offset`. \throws IoError naming the bytes missing and, when full, the
  /// free ones.
  void pwrite_all(const void* in, std::size_t size_bytes, std::uint64_t offset) const;
  void fsync() const;
  FileStatus status() const;
  std::uint64_t size() const { return status().size_bytes; }
  void truncate(std::uint64_t size_bytes) const;
  /// Sets the size and claims the disk space for it, where the file system can, so that a full disk
  /// shows now.
  void reserve(std::uint64_t size_bytes) const;
  void close();

 private:
  friend class FileSystem;
  File(SystemCalls& calls, int handle, std::string path, std::string where);

  SystemCalls* calls_ = nullptr;
  int handle_ = -1;
  std::string path_;
  std::string where_;
};

/// Files and folders as the library sees them. Thread safe. Every failure is an IoError that reads
/// `[where] rule; got <path>: <reason>; try <hint>`; `where` names the caller's operation.
class FileSystem {
 public:
  /// `calls` must outlive this object and every File it opened.
  explicit FileSystem(SystemCalls& calls) : calls_(&calls) {}

  /// An existing file, to read.
  File open(const std::string& path, std::string_view where = "open") const;
  /// An empty file to read and write; what lay there is truncated.
  File create(const std::string& path, std::string_view where = "create") const;
  /// An existing file, to read and write as it is.
  File open_to_write(const std::string& path, std::string_view where = "open") const;
  /// An empty file in `folder` that has no name, that only its owner could read, and that is gone
  /// when closed. Reads and writes go past the page cache where the file system allows it: offsets,
  /// sizes and addresses must be multiples of 4096.
  File create_unnamed(const std::string& folder, std::string_view where = "create") const;
  /// The whole file as bytes.
  std::string read_file(const std::string& path, std::string_view where = "read_file") const;

  FileStatus status(const std::string& path, std::string_view where = "stat") const;
  /// As status(), but nothing where no such path exists.
  std::optional<FileStatus> find(const std::string& path, std::string_view where = "stat") const;
  /// The path that a file written as `path` gets: what a symbolic link names, else `path` itself.
  /// \throws IoError when something lies there that is no ordinary file, and so must stay.
  std::string writable_path(const std::string& path, std::string_view where = "create") const;
  /// Replaces `to` if it exists; atomic within one file system.
  void rename(const std::string& from, const std::string& to,
              std::string_view where = "rename") const;
  void unlink(const std::string& path, std::string_view where = "unlink") const;
  /// Creates the folder and the missing ones above it.
  void make_directories(const std::string& path, std::string_view where = "mkdir") const;
  /// Removes an empty folder.
  void remove_directory(const std::string& path, std::string_view where = "rmdir") const;
  /// Makes renames and creations in a folder survive a power loss.
  void sync_directory(const std::string& path, std::string_view where = "fsync") const;
  /// Names in a folder, without "." and "..", in natural order.
  std::vector<std::string> list(const std::string& path, std::string_view where = "list") const;
  /// Paths that match a pattern with *, ? and [..] in any component, in natural order; a leading
  /// dot matches only a dot. Empty when nothing matches.
  std::vector<std::string> glob(const std::string& pattern, std::string_view where = "glob") const;
  /// Bytes an unprivileged writer may still use on the file system that holds `path`.
  std::uint64_t free_space(const std::string& path, std::string_view where = "statvfs") const;

 private:
  SystemCalls* calls_;
};

/// The system calls of this machine.
SystemCalls& posix_system_calls();
/// The real file system.
const FileSystem& posix_file_system();

/// Whether `a` comes before `b` when runs of digits count as numbers: "t2.nc" before "t10.nc".
bool natural_less(std::string_view a, std::string_view b) noexcept;
/// The part of a path before its last "/", "." when it has none.
std::string parent_folder(const std::string& path);

/// A file written under a temporary name beside its final one. commit() makes it durable and gives
/// it its name; without it the destructor removes it, so a failed or killed write leaves nothing
/// under that name. A symbolic link stays one: the file it names is replaced. Folders, devices,
/// pipes and sockets are refused.
class AtomicFile {
 public:
  AtomicFile(const FileSystem& file_system, const std::string& final_path, std::string_view where);
  /// One that several processes write: those with the same tag write the same file. The leader
  /// creates it, before others open it, and gives it its name, after their commit() has made
  /// durable what they wrote.
  struct Shared {
    std::string tag;
    bool leader = true;
    /// The tag of one for the same name that was given up: the leader removes it.
    std::string instead_of = {};
  };
  AtomicFile(const FileSystem& file_system, const std::string& final_path, std::string_view where,
             const Shared& shared);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  File& file() noexcept { return file_; }
  const File& file() const noexcept { return file_; }
  const std::string& final_path() const noexcept { return final_path_; }
  const std::string& temporary_path() const noexcept { return temporary_path_; }
  /// fsync, close, rename, fsync of the folder. When it throws, the final name shows what it showed
  /// before, or the whole new file if only the last step failed.
  void commit();

 private:
  const FileSystem* file_system_;
  std::string final_path_;
  std::string temporary_path_;
  std::string where_;
  File file_;
  bool pending_ = false;
  bool leader_ = true;
};

}  // namespace tessera::core
