#include "core/module_loader.hpp"

#include <dlfcn.h>
#include <limits.h>
#include <unistd.h>

#include <vector>

#include "core/environment.hpp"
#include "core/file_system.hpp"
#include "core/text.hpp"

namespace tessera::core {
namespace {

std::vector<std::string> module_folders() {
  std::vector<std::string> folders = environment().module_path;
  Dl_info self{};
  if (::dladdr(reinterpret_cast<void*>(&load_module), &self) != 0 && self.dli_fname != nullptr) {
    folders.push_back(parent_folder(self.dli_fname));
  }
  char executable[PATH_MAX];
  const ssize_t length = ::readlink("/proc/self/exe", executable, sizeof executable);
  if (length > 0 && length < static_cast<ssize_t>(sizeof executable)) {
    const std::string path(executable, static_cast<std::size_t>(length));
    folders.push_back(parent_folder(parent_folder(path)) + "/lib");
  }
  return folders;
}

LoadedModule find_module(const std::string& file_name, const char* entry_symbol) {
  LoadedModule module;
  for (const std::string& folder : module_folders()) {
    const std::string path = folder + "/" + file_name;
    if (!module.problem.empty()) module.problem += "; ";
    if (::access(path.c_str(), F_OK) != 0) {
      module.problem += path + ": no such file";
      continue;
    }
    void* handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
      const char* reason = ::dlerror();
      module.problem += reason == nullptr ? path + ": cannot be loaded" : reason;
      continue;
    }
    module.entry = ::dlsym(handle, entry_symbol);
    if (module.entry != nullptr) {
      module.path = path;
      module.problem.clear();
      return module;
    }
    module.problem += path + ": has no symbol " + entry_symbol;
    ::dlclose(handle);
  }
  return module;
}

}  // namespace

LoadedModule load_module(const std::string& file_name, const char* entry_symbol) {
  LoadedModule module = find_module(file_name, entry_symbol);
  log(LogLevel::kDebug, module.entry != nullptr
                            ? text("module ", file_name, " is loaded from ", module.path)
                            : text("module ", file_name, " is not available: ", module.problem));
  return module;
}

}  // namespace tessera::core
