#include "device/cuda/module/vendor_library.hpp"

#include <dlfcn.h>
#include <glob.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <utility>

namespace tessera::device::cuda::vendor {
namespace {

std::string parent(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : value;
}

void add(std::vector<std::string>& folders, const std::string& folder) {
  if (!folder.empty() && std::find(folders.begin(), folders.end(), folder) == folders.end()) {
    folders.push_back(folder);
  }
}

/// Installations of Python that the nvidia packages may be part of: the active environment, the
/// python3 that a shell would start, behind whatever links to it, and the system's.
std::vector<std::string> python_prefixes() {
  std::vector<std::string> prefixes;
  add(prefixes, variable("VIRTUAL_ENV"));
  add(prefixes, variable("CONDA_PREFIX"));
  const std::string path = variable("PATH");
  for (std::size_t begin = 0; begin < path.size();) {
    const std::size_t end = std::min(path.find(':', begin), path.size());
    std::string program = path.substr(begin, end - begin) + "/python3";
    begin = end + 1;
    if (!exists(program)) continue;
    constexpr int kMostLinks = 8;
    for (int i = 0; i < kMostLinks && !program.empty(); ++i) {
      add(prefixes, parent(parent(program)));
      char target[4096];
      const ssize_t length = ::readlink(program.c_str(), target, sizeof target);
      if (length <= 0 || length == static_cast<ssize_t>(sizeof target)) break;
      const std::string to(target, static_cast<std::size_t>(length));
      program = to.front() == '/' ? to : parent(program) + "/" + to;
    }
  }
  if (const std::string home = variable("HOME"); !home.empty()) add(prefixes, home + "/.local");
  add(prefixes, "/usr/local");
  add(prefixes, "/usr");
  return prefixes;
}

std::vector<std::string> find_folders() {
  std::vector<std::string> folders;
  for (const char* name : {"CUDA_HOME", "CUDA_PATH"}) {
    if (const std::string root = variable(name); !root.empty()) add(folders, root + "/lib64");
  }
  add(folders, "/usr/local/cuda/lib64");
  for (const std::string& prefix : python_prefixes()) {
    const std::string pattern = prefix + "/lib*/python3*/{site,dist}-packages/nvidia/*/lib";
    glob_t found{};
    if (::glob(pattern.c_str(), GLOB_BRACE, nullptr, &found) == 0) {
      for (std::size_t i = 0; i < found.gl_pathc; ++i) add(folders, found.gl_pathv[i]);
    }
    ::globfree(&found);
  }
  return folders;
}

/// Where libraries may lie, in the order in which to look; those where one was found come first, so
/// that libraries fit each other.
class Places {
 public:
  static Places& instance() {
    static Places places;
    return places;
  }
  std::vector<std::string> folders() {
    const std::lock_guard lock(mutex_);
    return folders_;
  }
  void prefer(const std::string& folder) {
    const std::lock_guard lock(mutex_);
    std::erase(folders_, folder);
    folders_.insert(folders_.begin(), folder);
  }

 private:
  Places() : folders_(find_folders()) {}
  std::mutex mutex_;
  std::vector<std::string> folders_;
};

void* load(const std::string& file, std::string& reason) {
  void* handle = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* error = ::dlerror();
    reason = error == nullptr ? file + ": cannot be loaded" : error;
  }
  return handle;
}

/// Loads what a library links to, so that the loader need not find it. What cannot be loaded will
/// be named by the library itself.
void load_needed(const std::vector<std::string>& needs) {
  std::string ignored;
  for (const std::string& name : needs) {
    if (load(name, ignored) != nullptr) continue;
    for (const std::string& folder : Places::instance().folders()) {
      const std::string file = folder + "/" + name;
      if (exists(file) && load(file, ignored) != nullptr) break;
    }
  }
}

std::string join(const std::vector<std::string>& parts, const char* between) {
  std::string out;
  for (const std::string& part : parts) out += (out.empty() ? "" : between) + part;
  return out;
}

/// Whether the loader said that there is no such file, rather than what is wrong with one.
bool is_absence(const std::string& reason, const std::string& name) {
  return reason.starts_with(name + ": cannot open shared object file: No such file");
}

}  // namespace

SharedLibrary::SharedLibrary(std::vector<std::string> names,
                             const std::vector<std::string>& needs) {
  const std::vector<std::string> folders = Places::instance().folders();
  for (const std::string& name : names) {
    if (open(name, needs)) return;
    for (const std::string& folder : folders) {
      const std::string file = folder + "/" + name;
      if (exists(file) && open(file, needs)) return;
    }
  }
  const std::string where = join(names, " or ") +
                            " was found neither on the library path (LD_LIBRARY_PATH) nor in " +
                            join(folders, ", ");
  problem_ = problem_.empty() ? where : where + ": " + problem_;
}

bool SharedLibrary::open(const std::string& file, const std::vector<std::string>& needs) {
  std::string reason;
  handle_ = load(file, reason);
  if (handle_ == nullptr && !needs.empty() && !is_absence(reason, file)) {
    load_needed(needs);
    handle_ = load(file, reason);
  }
  if (handle_ == nullptr) {
    if (!is_absence(reason, file)) problem_ += (problem_.empty() ? "" : "; ") + reason;
    return false;
  }
  problem_.clear();
  path_ = file;
  link_map* map = nullptr;
  if (::dlinfo(handle_, RTLD_DI_LINKMAP, &map) == 0 && map->l_name[0] == '/') path_ = map->l_name;
  if (const std::string where = folder(); !where.empty()) Places::instance().prefer(where);
  return true;
}

std::string SharedLibrary::folder() const { return parent(path_); }

void* SharedLibrary::find(const char* symbol) {
  void* address = handle_ == nullptr ? nullptr : ::dlsym(handle_, symbol);
  if (address == nullptr && handle_ != nullptr && complete_) {
    complete_ = false;
    problem_ = path_ + " has no function " + symbol;
  }
  return address;
}

}  // namespace tessera::device::cuda::vendor
