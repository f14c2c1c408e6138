#include "core/file_system.hpp"

#include <fcntl.h>
#include <fnmatch.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::core {
namespace {

// As the kernel follows.
constexpr int kMaxLinks = 40;

const char* hint(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return "checking the spelling of the path and that its folder exists";
    case EACCES:
    case EPERM:
      return "checking the permissions of the file and of its folder";
    case EROFS:
      return "writing to a folder on a writable file system";
    case ENOSPC:
    case EDQUOT:
      return "freeing disk space, or another folder";
    case EMFILE:
    case ENFILE:
      return "raising the limit of open files (ulimit -n)";
    case EISDIR:
      return "the path of a file, not of a folder";
    case EIO:
      return "checking the disk or the network mount; the system log may say more";
    default:
      return "checking the path and the state of its file system";
  }
}

[[noreturn]] void fail(std::string_view where, std::string_view rule, const std::string& path,
                       int error, const std::string& detail = {}) {
  char buffer[128];
  const char* reason = ::strerror_r(error, buffer, sizeof buffer);
  throw IoError(
      text("[", where, "] ", rule, "; got ", path, ": ", reason, detail, "; try ", hint(error)));
}

template <typename Call>
auto retry_interrupted(Call call) {
  auto result = call();
  while (result == -EINTR) result = call();
  return result;
}

std::int64_t to_offset(std::uint64_t offset) {
  if (offset > static_cast<std::uint64_t>(INT64_MAX)) {
    throw IoError(text("[file] an offset must fit 63 bits; got ", offset, "; try a smaller file"));
  }
  return static_cast<std::int64_t>(offset);
}

bool has_wildcard(std::string_view part) {
  return part.find_first_of("*?[") != std::string_view::npos;
}

std::string join(const std::string& folder, const std::string& name) {
  if (folder.empty()) return name;
  return folder.back() == '/' ? folder + name : folder + "/" + name;
}

std::string next_temporary_suffix() {
  static std::atomic<std::uint64_t> counter{0};
  return text(".partial-", ::getpid(), "-", counter.fetch_add(1));
}

std::string shared_name(const std::string& final_path, const std::string& tag) {
  return text(final_path, ".", tag, ".part");
}

File open_shared(const FileSystem& file_system, const std::string& final_path,
                 const AtomicFile::Shared& shared, std::string_view where) {
  const std::string path = shared_name(final_path, shared.tag);
  if (!shared.leader) return file_system.open_to_write(path, where);
  if (!shared.instead_of.empty()) {
    const std::string earlier = shared_name(final_path, shared.instead_of);
    if (file_system.find(earlier, where)) file_system.unlink(earlier, where);
  }
  return file_system.create(path, where);
}

}  // namespace

File::File(SystemCalls& calls, int handle, std::string path, std::string where)
    : calls_(&calls), handle_(handle), path_(std::move(path)), where_(std::move(where)) {}

File::File(File&& other) noexcept
    : calls_(other.calls_),
      handle_(std::exchange(other.handle_, -1)),
      path_(std::move(other.path_)),
      where_(std::move(other.where_)) {}

File& File::operator=(File&& other) noexcept {
  if (this != &other) {
    if (handle_ >= 0) calls_->close(handle_);
    calls_ = other.calls_;
    handle_ = std::exchange(other.handle_, -1);
    path_ = std::move(other.path_);
    where_ = std::move(other.where_);
  }
  return *this;
}

File::~File() {
  if (handle_ >= 0) calls_->close(handle_);
}

std::size_t File::pread_up_to(void* out, std::size_t size_bytes, std::uint64_t offset) const {
  auto* bytes = static_cast<std::byte*>(out);
  std::size_t done = 0;
  while (done < size_bytes) {
    const ssize_t count = retry_interrupted([&] {
      return calls_->pread(handle_, bytes + done, size_bytes - done, to_offset(offset + done));
    });
    if (count < 0) fail(where_, "a file must be readable", path_, static_cast<int>(-count));
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  return done;
}

void File::pread_all(void* out, std::size_t size_bytes, std::uint64_t offset) const {
  const std::size_t done = pread_up_to(out, size_bytes, offset);
  if (done == size_bytes) return;
  throw IoError(text("[", where_, "] a file must hold the bytes it declares; got ", path_,
                     ": ends at byte ", offset + done, ", wanted ", size_bytes, " bytes from ",
                     offset, "; try writing or copying the file again"));
}

void File::pwrite_all(const void* in, std::size_t size_bytes, std::uint64_t offset) const {
  const auto* bytes = static_cast<const std::byte*>(in);
  std::size_t done = 0;
  while (done < size_bytes) {
    ssize_t count = retry_interrupted([&] {
      return calls_->pwrite(handle_, bytes + done, size_bytes - done, to_offset(offset + done));
    });
    if (count == 0) count = -EIO;
    if (count < 0) {
      const int error = static_cast<int>(-count);
      std::string detail;
      std::uint64_t free_bytes = 0;
      if ((error == ENOSPC || error == EDQUOT) &&
          calls_->free_space(path_.c_str(), free_bytes) == 0) {
        detail = text(" (", size_bytes - done, " bytes to write, ", free_bytes, " free)");
      }
      fail(where_, "a write must reach the disk", path_, error, detail);
    }
    done += static_cast<std::size_t>(count);
  }
}

void File::fsync() const {
  const int result = retry_interrupted([&] { return calls_->fsync(handle_); });
  if (result < 0) fail(where_, "written data must reach the disk", path_, -result);
}

FileStatus File::status() const {
  FileStatus status;
  const int result = retry_interrupted([&] { return calls_->fstat(handle_, status); });
  if (result < 0) fail(where_, "an open file must tell its size", path_, -result);
  return status;
}

void File::truncate(std::uint64_t size_bytes) const {
  const int result =
      retry_interrupted([&] { return calls_->ftruncate(handle_, to_offset(size_bytes)); });
  if (result < 0)
    fail(where_, "a file must take its size", path_, -result, text(" (", size_bytes, " bytes)"));
}

void File::reserve(std::uint64_t size_bytes) const {
  if (size_bytes == 0) return truncate(0);
  const int result =
      retry_interrupted([&] { return calls_->fallocate(handle_, to_offset(size_bytes)); });
  if (result == 0) return;
  if (result == -EOPNOTSUPP || result == -ENOSYS || result == -EINVAL) return truncate(size_bytes);
  std::string detail = text(" (", size_bytes, " bytes needed");
  std::uint64_t free_bytes = 0;
  if (calls_->free_space(path_.c_str(), free_bytes) == 0) detail += text(", ", free_bytes, " free");
  fail(where_, "the disk must have room for a file", path_, -result, detail + ")");
}

void File::close() {
  if (handle_ < 0) return;
  const int result = calls_->close(std::exchange(handle_, -1));
  // After EINTR the handle is gone on Linux; closing again could hit another thread's file.
  if (result < 0 && result != -EINTR)
    fail(where_, "a file must close without loss", path_, -result);
}

File FileSystem::open(const std::string& path, std::string_view where) const {
  const int handle = retry_interrupted([&] { return calls_->open(path.c_str(), O_RDONLY, 0); });
  if (handle < 0) fail(where, "a file must exist and be readable", path, -handle);
  return File(*calls_, handle, path, std::string(where));
}

File FileSystem::create(const std::string& path, std::string_view where) const {
  const int handle = retry_interrupted(
      [&] { return calls_->open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0666); });
  if (handle < 0) fail(where, "a file must be writable", path, -handle);
  return File(*calls_, handle, path, std::string(where));
}

File FileSystem::open_to_write(const std::string& path, std::string_view where) const {
  const int handle = retry_interrupted([&] { return calls_->open(path.c_str(), O_RDWR, 0); });
  if (handle < 0) fail(where, "a file must exist and be writable", path, -handle);
  return File(*calls_, handle, path, std::string(where));
}

File FileSystem::create_unnamed(const std::string& folder, std::string_view where) const {
  constexpr unsigned kOwnerOnly = 0600;
  const int flags = O_RDWR | O_EXCL | O_NOFOLLOW;
  auto open_unnamed = [&](int more) {
    return retry_interrupted(
        [&] { return calls_->open(folder.c_str(), flags | O_TMPFILE | more, kOwnerOnly); });
  };
  int handle = open_unnamed(O_DIRECT);
  if (handle == -EINVAL) handle = open_unnamed(0);
  if (handle == -EOPNOTSUPP || handle == -EISDIR) {
    // The file system knows no files without names: the name goes at once.
    const std::string path = join(folder, "tessera" + next_temporary_suffix());
    handle =
        retry_interrupted([&] { return calls_->open(path.c_str(), flags | O_CREAT, kOwnerOnly); });
    if (handle >= 0) {
      File file(*calls_, handle, folder, std::string(where));
      unlink(path, where);
      return file;
    }
  }
  if (handle < 0) fail(where, "a folder must take new files", folder, -handle);
  return File(*calls_, handle, folder, std::string(where));
}

std::string FileSystem::read_file(const std::string& path, std::string_view where) const {
  const File file = open(path, where);
  const FileStatus status = file.status();
  if (status.is_directory) fail(where, "a file must be readable", path, EISDIR);
  std::string content(status.size_bytes, '\0');
  file.pread_all(content.data(), content.size(), 0);
  return content;
}

std::optional<FileStatus> FileSystem::find(const std::string& path, std::string_view where) const {
  FileStatus status;
  const int result = retry_interrupted([&] { return calls_->stat(path.c_str(), status); });
  if (result == -ENOENT || result == -ENOTDIR) return std::nullopt;
  if (result < 0) fail(where, "a path must be reachable", path, -result);
  return status;
}

FileStatus FileSystem::status(const std::string& path, std::string_view where) const {
  const auto status = find(path, where);
  if (!status) fail(where, "a path must exist", path, ENOENT);
  return *status;
}

std::string FileSystem::writable_path(const std::string& path, std::string_view where) const {
  // Asked of the path as given: what a link in /proc names need not have a name of its own.
  const auto status = find(path, where);
  if (status && status->is_directory) fail(where, "a file must be writable", path, EISDIR);
  if (status && !status->is_regular) {
    throw IoError(text("[", where, "] only an ordinary file may be replaced; got ", path,
                       ": a device, pipe or socket; try the path of a file"));
  }
  std::string target = path;
  for (int links = 0; links <= kMaxLinks; ++links) {
    std::string next;
    const int result = retry_interrupted([&] { return calls_->readlink(target.c_str(), next); });
    // EINVAL: no link.
    if (result == -EINVAL || result == -ENOENT || result == -ENOTDIR) return target;
    if (result < 0) fail(where, "a path must be reachable", target, -result);
    target = next.starts_with('/') ? next : join(parent_folder(target), next);
  }
  fail(where, "a path must be reachable", path, ELOOP);
}

void FileSystem::rename(const std::string& from, const std::string& to,
                        std::string_view where) const {
  const int result = calls_->rename(from.c_str(), to.c_str());
  if (result < 0) fail(where, "a file must take its new name", text(from, " -> ", to), -result);
}

void FileSystem::unlink(const std::string& path, std::string_view where) const {
  const int result = calls_->unlink(path.c_str());
  if (result < 0) fail(where, "a file must be removable", path, -result);
}

void FileSystem::make_directories(const std::string& path, std::string_view where) const {
  std::size_t end = 0;
  while (end != std::string::npos) {
    end = path.find('/', end + 1);
    const std::string part = path.substr(0, end);
    const int result = calls_->mkdir(part.c_str());
    if (result == 0) continue;
    const auto status = result == -EEXIST ? find(part, where) : std::nullopt;
    if (!status || !status->is_directory) {
      fail(where, "a folder must be creatable", part, result == -EEXIST ? ENOTDIR : -result);
    }
  }
}

void FileSystem::remove_directory(const std::string& path, std::string_view where) const {
  const int result = calls_->rmdir(path.c_str());
  if (result < 0) fail(where, "a folder must be removable", path, -result);
}

void FileSystem::sync_directory(const std::string& path, std::string_view where) const {
  const int handle =
      retry_interrupted([&] { return calls_->open(path.c_str(), O_RDONLY | O_DIRECTORY, 0); });
  if (handle < 0) fail(where, "a folder must be readable", path, -handle);
  const File folder(*calls_, handle, path, std::string(where));
  const int result = retry_interrupted([&] { return calls_->fsync(handle); });
  // Some network file systems cannot sync a folder and say so with EINVAL.
  if (result < 0 && result != -EINVAL) fail(where, "a folder must reach the disk", path, -result);
}

std::vector<std::string> FileSystem::list(const std::string& path, std::string_view where) const {
  std::vector<std::string> names;
  const int result = calls_->list(path.c_str(), names);
  if (result < 0) fail(where, "a folder must be readable", path, -result);
  std::sort(names.begin(), names.end(), natural_less);
  return names;
}

std::vector<std::string> FileSystem::glob(const std::string& pattern,
                                          std::string_view where) const {
  std::vector<std::string> matches{pattern.starts_with('/') ? "/" : ""};
  std::size_t begin = pattern.find_first_not_of('/');
  while (begin != std::string::npos && !matches.empty()) {
    const std::size_t end = pattern.find('/', begin);
    const std::string part = pattern.substr(begin, end == std::string::npos ? end : end - begin);
    begin = pattern.find_first_not_of('/', end);
    const bool last = begin == std::string::npos;
    std::vector<std::string> next;
    for (const std::string& folder : matches) {
      if (!has_wildcard(part)) {
        if (find(join(folder, part), where)) next.push_back(join(folder, part));
        continue;
      }
      const auto status = find(folder.empty() ? "." : folder, where);
      if (!status || !status->is_directory) continue;
      for (const std::string& name : list(folder.empty() ? "." : folder, where)) {
        if (::fnmatch(part.c_str(), name.c_str(), FNM_PERIOD) != 0) continue;
        const std::string path = join(folder, name);
        if (!last) {
          const auto inner = find(path, where);
          if (!inner || !inner->is_directory) continue;
        }
        next.push_back(path);
      }
    }
    matches = std::move(next);
  }
  if (matches.size() == 1 && matches[0].empty()) matches.clear();
  std::sort(matches.begin(), matches.end(), natural_less);
  return matches;
}

std::uint64_t FileSystem::free_space(const std::string& path, std::string_view where) const {
  std::uint64_t bytes = 0;
  const int result = retry_interrupted([&] { return calls_->free_space(path.c_str(), bytes); });
  if (result < 0) fail(where, "a path must be reachable", path, -result);
  return bytes;
}

bool natural_less(std::string_view a, std::string_view b) noexcept {
  auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  std::size_t i = 0;
  std::size_t j = 0;
  while (i < a.size() && j < b.size()) {
    if (is_digit(a[i]) && is_digit(b[j])) {
      while (i < a.size() && a[i] == '0') ++i;
      while (j < b.size() && b[j] == '0') ++j;
      std::size_t i_end = i;
      std::size_t j_end = j;
      while (i_end < a.size() && is_digit(a[i_end])) ++i_end;
      while (j_end < b.size() && is_digit(b[j_end])) ++j_end;
      if (i_end - i != j_end - j) return i_end - i < j_end - j;
      const int order = a.substr(i, i_end - i).compare(b.substr(j, j_end - j));
      if (order != 0) return order < 0;
      i = i_end;
      j = j_end;
    } else {
      if (a[i] != b[j]) return static_cast<unsigned char>(a[i]) < static_cast<unsigned char>(b[j]);
      ++i;
      ++j;
    }
  }
  if (i < a.size() || j < b.size()) return i == a.size();
  return a < b;  // equal but for leading zeros: still one fixed order
}

std::string parent_folder(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

AtomicFile::AtomicFile(const FileSystem& file_system, const std::string& final_path,
                       std::string_view where)
    : file_system_(&file_system),
      final_path_(file_system.writable_path(final_path, where)),
      temporary_path_(final_path_ + next_temporary_suffix()),
      where_(where),
      file_(file_system.create(temporary_path_, where)),
      pending_(true) {}

AtomicFile::AtomicFile(const FileSystem& file_system, const std::string& final_path,
                       std::string_view where, const Shared& shared)
    : file_system_(&file_system),
      final_path_(file_system.writable_path(final_path, where)),
      temporary_path_(shared_name(final_path_, shared.tag)),
      where_(where),
      file_(open_shared(file_system, final_path_, shared, where)),
      pending_(shared.leader),
      leader_(shared.leader) {}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : file_system_(other.file_system_),
      final_path_(std::move(other.final_path_)),
      temporary_path_(std::move(other.temporary_path_)),
      where_(std::move(other.where_)),
      file_(std::move(other.file_)),
      pending_(std::exchange(other.pending_, false)),
      leader_(other.leader_) {}

AtomicFile::~AtomicFile() {
  if (!pending_) return;
  try {
    file_system_->unlink(temporary_path_, where_);
  } catch (const std::exception&) {
    // Nothing can be done here; the name says that the file is partial.
  }
}

void AtomicFile::commit() {
  file_.fsync();
  file_.close();
  if (!leader_) return;
  file_system_->rename(temporary_path_, final_path_, where_);
  pending_ = false;
  file_system_->sync_directory(parent_folder(final_path_), where_);
}

}  // namespace tessera::core
