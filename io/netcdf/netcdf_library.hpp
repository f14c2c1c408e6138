#pragma once

#include <string>
#include <string_view>

#include "io/netcdf/netcdf_module.h"

// Finds libtessera_netcdf.so once and checks its calls.

namespace tessera::io {

/// Whether NetCDF files can be read here, for `tessera info`.
struct NetcdfModuleStatus {
  bool available = false;
  /// The module's file and library versions, or why there is none.
  std::string text;
};
NetcdfModuleStatus netcdf_module_status();

/// The module's functions. \throws LibraryError naming the places where the module was sought.
const tessera_netcdf_functions& netcdf_functions();

/// \throws IoError `[netcdf] rule; got <path>: <library's text>; try ...` when `code` is not 0.
void check_netcdf(int code, const tessera_netcdf_error& error, std::string_view rule,
                  const std::string& path);

/// Owns a file handle of the module; closing in the destructor ignores errors.
class NetcdfHandle {
 public:
  NetcdfHandle() = default;
  explicit NetcdfHandle(tessera_netcdf_file* file) : file_(file) {}
  NetcdfHandle(NetcdfHandle&& other) noexcept;
  NetcdfHandle& operator=(NetcdfHandle&& other) noexcept;
  ~NetcdfHandle();
  tessera_netcdf_file* get() const noexcept { return file_; }
  /// Gives the handle up, to close it with a check.
  tessera_netcdf_file* release() noexcept;

 private:
  tessera_netcdf_file* file_ = nullptr;
};

}  // namespace tessera::io
