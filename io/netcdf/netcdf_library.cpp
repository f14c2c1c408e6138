#include "io/netcdf/netcdf_library.hpp"

#include <utility>

#include "core/module_loader.hpp"
#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::io {
namespace {

struct Library {
  const tessera_netcdf_functions* functions = nullptr;
  std::string text;
};

const Library& library() {
  static const Library loaded = [] {
    Library result;
    const core::LoadedModule module =
        core::load_module("libtessera_netcdf.so", TESSERA_NETCDF_ENTRY_SYMBOL);
    if (module.entry == nullptr) {
      result.text = module.problem;
      return result;
    }
    const auto entry = reinterpret_cast<decltype(&tessera_netcdf_module)>(module.entry);
    result.functions = entry(TESSERA_NETCDF_ABI_VERSION);
    if (result.functions != nullptr &&
        result.functions->struct_size < sizeof(tessera_netcdf_functions)) {
      result.functions = nullptr;
    }
    result.text = result.functions != nullptr
                      ? core::text(result.functions->versions, " (", module.path, ")")
                      : module.path + ": built for another version of tessera";
    return result;
  }();
  return loaded;
}

}  // namespace

NetcdfModuleStatus netcdf_module_status() {
  return {library().functions != nullptr, library().text};
}

const tessera_netcdf_functions& netcdf_functions() {
  if (library().functions == nullptr) {
    throw LibraryError(core::text(
        "[netcdf] NetCDF files need the module libtessera_netcdf.so; got ", library().text,
        "; try a build with netCDF and HDF5, or set TESSERA_MODULE_PATH"));
  }
  return *library().functions;
}

void check_netcdf(int code, const tessera_netcdf_error& error, std::string_view rule,
                  const std::string& path) {
  if (code == 0) return;
  throw IoError(core::text("[netcdf] ", rule, "; got ", path, ": ", error.text,
                           "; try checking that the file is a complete NetCDF file"));
}

NetcdfHandle::NetcdfHandle(NetcdfHandle&& other) noexcept
    : file_(std::exchange(other.file_, nullptr)) {}

NetcdfHandle& NetcdfHandle::operator=(NetcdfHandle&& other) noexcept {
  std::swap(file_, other.file_);
  return *this;
}

NetcdfHandle::~NetcdfHandle() {
  if (file_ != nullptr) library().functions->close(file_, nullptr);
}

tessera_netcdf_file* NetcdfHandle::release() noexcept { return std::exchange(file_, nullptr); }

}  // namespace tessera::io
