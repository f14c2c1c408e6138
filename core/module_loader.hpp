#pragma once

#include <string>

#include "tessera/export.hpp"

// Finds and loads the modules that hold vendor code (libtessera_netcdf.so ...). A module stays
// loaded until the process ends: vendor libraries rarely survive an unload. What a module's entry
// point means is its loader's business.

namespace tessera::core {

/// A loaded module, or the reason why there is none.
struct LoadedModule {
  /// The address of the entry symbol; null when the module is not available.
  void* entry = nullptr;
  /// Where the module was found.
  std::string path;
  /// Why it is not available: every place that was tried and what was wrong with it.
  std::string problem;
};

/// Loads `file_name` ("libtessera_netcdf.so") and looks up `entry_symbol`. Looks in the folders of
/// TESSERA_MODULE_PATH (separated by ":"), in the folder of this library, and in ../lib of the
/// executable. Never throws for a missing module. \throws InvalidArgument as environment() does.
LoadedModule load_module(const std::string& file_name, const char* entry_symbol);

}  // namespace tessera::core
