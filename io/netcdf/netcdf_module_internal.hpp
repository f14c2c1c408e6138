#pragma once

#include <hdf5.h>
#include <netcdf.h>

#include <cstdio>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "io/netcdf/netcdf_module.h"

// Shared by the sources of the module only: the file handle, the lock, checked vendor calls.

namespace tessera::io::netcdf {

struct VariablePlace {
  int group;
  int id;
  std::string name;
};
struct DimensionPlace {
  int group;
  int id;
  std::string name;
  bool unlimited;
};

}  // namespace tessera::io::netcdf

struct tessera_netcdf_file {
  std::string path;
  int id = -1;
  bool is_hdf5 = false;
  std::vector<tessera::io::netcdf::DimensionPlace> dimensions;
  std::vector<tessera::io::netcdf::VariablePlace> variables;
  hid_t hdf5_file = -1;
  // The dataset used last: raw_chunk is called for one chunk after the other.
  hid_t dataset = -1;
  int dataset_variable = -1;
};

namespace tessera::io::netcdf {

inline std::mutex& library_mutex() {
  static std::mutex mutex;
  return mutex;
}

struct Failure : std::runtime_error {
  Failure(int code, const std::string& text) : std::runtime_error(text), code(code) {}
  int code;
};

inline void check(int status, const char* call) {
  if (status != NC_NOERR) throw Failure(status, std::string(call) + ": " + nc_strerror(status));
}

/// Runs `body` under the lock and turns what it throws into the error.
template <typename Body>
int guarded(tessera_netcdf_error* error, Body body) noexcept {
  int code = 0;
  try {
    const std::lock_guard lock(library_mutex());
    // HDF5 prints a stack for each benign miss of netCDF's, and keeps the switch for it per thread.
    static thread_local const herr_t quiet = H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
    static_cast<void>(quiet);
    body();
    return 0;
  } catch (const Failure& failure) {
    code = failure.code != 0 ? failure.code : -1;
    if (error != nullptr) std::snprintf(error->text, sizeof error->text, "%s", failure.what());
  } catch (const std::exception& failure) {
    code = -1;
    if (error != nullptr) std::snprintf(error->text, sizeof error->text, "%s", failure.what());
  }
  if (error != nullptr) error->code = code;
  return code;
}

inline const VariablePlace& variable_at(const tessera_netcdf_file& file, int index) {
  return file.variables.at(static_cast<std::size_t>(index));
}

inline VariablePlace attribute_owner(const tessera_netcdf_file& file, int variable) {
  return variable < 0 ? VariablePlace{file.id, NC_GLOBAL, ""} : variable_at(file, variable);
}

inline std::vector<std::size_t> to_sizes(const std::uint64_t* values, std::size_t count) {
  return std::vector<std::size_t>(values, values + count);
}

// netcdf_module_storage.cpp: where values lie in the file.
int storage(tessera_netcdf_file* file, int variable, tessera_netcdf_storage* out,
            tessera_netcdf_error* error);
int chunk_table(tessera_netcdf_file* file, int variable, tessera_netcdf_chunk* out, uint64_t count,
                tessera_netcdf_error* error);
int raw_chunk(tessera_netcdf_file* file, int variable, const uint64_t* origin, void* out,
              uint64_t capacity, uint64_t* size_bytes, uint32_t* filter_mask,
              tessera_netcdf_error* error);

// netcdf_module_write.cpp: new files.
int create(const char* path, int format, tessera_netcdf_file** out, tessera_netcdf_error* error);
int define_dimension(tessera_netcdf_file* file, const char* name, uint64_t length, int unlimited,
                     int* index, tessera_netcdf_error* error);
int define_variable(tessera_netcdf_file* file, const tessera_netcdf_variable_spec* spec, int* index,
                    tessera_netcdf_error* error);
int put_attribute(tessera_netcdf_file* file, int variable, const char* name, int type,
                  uint64_t count, const void* values, tessera_netcdf_error* error);
int end_definitions(tessera_netcdf_file* file, tessera_netcdf_error* error);
int write(tessera_netcdf_file* file, int variable, const uint64_t* start, const uint64_t* count,
          const void* in, tessera_netcdf_error* error);

}  // namespace tessera::io::netcdf
