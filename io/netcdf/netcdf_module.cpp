#include "io/netcdf/netcdf_module.h"

#include <cstring>
#include <memory>

#include "io/netcdf/netcdf_module_internal.hpp"

namespace tessera::io::netcdf {
namespace {

void copy_name(char* out, const std::string& name) {
  if (name.size() >= TESSERA_NETCDF_MAX_NAME)
    throw Failure(NC_EMAXNAME, "a name is too long: " + name);
  std::memcpy(out, name.c_str(), name.size() + 1);
}

int public_type(nc_type type) {
  return type >= NC_BYTE && type <= NC_STRING ? type : TESSERA_NETCDF_OTHER;
}

/// Lists dimensions and variables of a group and the groups in it; ids of dimensions hold
/// file-wide.
void list_group(tessera_netcdf_file& file, int group, const std::string& prefix) {
  int count = 0;
  check(nc_inq_dimids(group, &count, nullptr, 0), "nc_inq_dimids");
  std::vector<int> ids(static_cast<std::size_t>(count));
  check(nc_inq_dimids(group, &count, ids.data(), 0), "nc_inq_dimids");
  int unlimited_count = 0;
  check(nc_inq_unlimdims(group, &unlimited_count, nullptr), "nc_inq_unlimdims");
  std::vector<int> unlimited(static_cast<std::size_t>(unlimited_count));
  check(nc_inq_unlimdims(group, &unlimited_count, unlimited.data()), "nc_inq_unlimdims");
  char name[NC_MAX_NAME + 1];
  for (const int id : ids) {
    check(nc_inq_dimname(group, id, name), "nc_inq_dimname");
    bool grows = false;
    for (const int other : unlimited) grows = grows || other == id;
    file.dimensions.push_back({group, id, prefix + name, grows});
  }
  check(nc_inq_nvars(group, &count), "nc_inq_nvars");
  for (int id = 0; id < count; ++id) {
    check(nc_inq_varname(group, id, name), "nc_inq_varname");
    file.variables.push_back({group, id, prefix + name});
  }
  check(nc_inq_grps(group, &count, nullptr), "nc_inq_grps");
  ids.resize(static_cast<std::size_t>(count));
  check(nc_inq_grps(group, &count, ids.data()), "nc_inq_grps");
  for (const int inner : ids) {
    check(nc_inq_grpname(inner, name), "nc_inq_grpname");
    list_group(file, inner, prefix + name + "/");
  }
}

void release(tessera_netcdf_file& file) noexcept {
  if (file.dataset >= 0) H5Dclose(file.dataset);
  if (file.hdf5_file >= 0) H5Fclose(file.hdf5_file);
  file.dataset = file.hdf5_file = -1;
}

int open_file(const char* path, tessera_netcdf_file** out, tessera_netcdf_error* error) {
  return guarded(error, [&] {
    auto file = std::make_unique<tessera_netcdf_file>();
    file->path = path;
    check(nc_open(path, NC_NOWRITE, &file->id), "nc_open");
    try {
      int format = 0;
      int mode = 0;
      check(nc_inq_format_extended(file->id, &format, &mode), "nc_inq_format_extended");
      file->is_hdf5 = format == NC_FORMATX_NC_HDF5;
      list_group(*file, file->id, "");
    } catch (...) {
      nc_close(file->id);
      throw;
    }
    *out = file.release();
  });
}

int close_file(tessera_netcdf_file* file, tessera_netcdf_error* error) {
  if (file == nullptr) return 0;
  return guarded(error, [&] {
    const std::unique_ptr<tessera_netcdf_file> owned(file);
    release(*owned);
    check(nc_close(owned->id), "nc_close");
  });
}

int counts(tessera_netcdf_file* file, int* dimensions, int* variables, int* attributes,
           tessera_netcdf_error* error) {
  return guarded(error, [&] {
    *dimensions = static_cast<int>(file->dimensions.size());
    *variables = static_cast<int>(file->variables.size());
    check(nc_inq_natts(file->id, attributes), "nc_inq_natts");
  });
}

int dimension(tessera_netcdf_file* file, int index, tessera_netcdf_dimension* out,
              tessera_netcdf_error* error) {
  return guarded(error, [&] {
    const DimensionPlace& place = file->dimensions.at(static_cast<std::size_t>(index));
    copy_name(out->name, place.name);
    std::size_t length = 0;
    check(nc_inq_dimlen(place.group, place.id, &length), "nc_inq_dimlen");
    out->length = length;
    out->unlimited = place.unlimited ? 1 : 0;
  });
}

int variable(tessera_netcdf_file* file, int index, tessera_netcdf_variable* out,
             tessera_netcdf_error* error) {
  return guarded(error, [&] {
    const VariablePlace& place = variable_at(*file, index);
    copy_name(out->name, place.name);
    int rank = 0;
    check(nc_inq_varndims(place.group, place.id, &rank), "nc_inq_varndims");
    if (rank > TESSERA_NETCDF_MAX_RANK)
      throw Failure(NC_EMAXDIMS, "more than 64 dimensions: " + place.name);
    nc_type type = NC_NAT;
    int ids[TESSERA_NETCDF_MAX_RANK];
    check(nc_inq_var(place.group, place.id, nullptr, &type, nullptr, ids, &out->attributes),
          "nc_inq_var");
    out->type = public_type(type);
    out->rank = rank;
    for (int axis = 0; axis < rank; ++axis) {
      out->dimensions[axis] = -1;
      for (std::size_t i = 0; i < file->dimensions.size(); ++i) {
        if (file->dimensions[i].id == ids[axis]) out->dimensions[axis] = static_cast<int>(i);
      }
      if (out->dimensions[axis] < 0)
        throw Failure(NC_EBADDIM, "a dimension is unknown: " + place.name);
    }
    int storage = NC_CONTIGUOUS;
    std::size_t chunks[TESSERA_NETCDF_MAX_RANK] = {};
    check(nc_inq_var_chunking(place.group, place.id, &storage, chunks), "nc_inq_var_chunking");
    out->chunked = storage == NC_CHUNKED ? 1 : 0;
    for (int axis = 0; axis < rank; ++axis) out->chunks[axis] = out->chunked ? chunks[axis] : 0;
  });
}

std::string string_list(const VariablePlace& owner, const char* name, std::size_t count) {
  std::vector<char*> strings(count, nullptr);
  check(nc_get_att_string(owner.group, owner.id, name, strings.data()), "nc_get_att_string");
  std::string joined;
  for (std::size_t i = 0; i < count; ++i) {
    if (i > 0) joined += '\n';
    if (strings[i] != nullptr) joined += strings[i];
  }
  nc_free_string(count, strings.data());
  return joined;
}

int attribute(tessera_netcdf_file* file, int variable, int index, tessera_netcdf_attribute* out,
              tessera_netcdf_error* error) {
  return guarded(error, [&] {
    const VariablePlace owner = attribute_owner(*file, variable);
    char name[NC_MAX_NAME + 1];
    check(nc_inq_attname(owner.group, owner.id, index, name), "nc_inq_attname");
    nc_type type = NC_NAT;
    std::size_t count = 0;
    check(nc_inq_att(owner.group, owner.id, name, &type, &count), "nc_inq_att");
    copy_name(out->name, name);
    out->type = public_type(type);
    out->count = type == NC_STRING ? string_list(owner, name, count).size() : count;
  });
}

int attribute_value(tessera_netcdf_file* file, int variable, const char* name, void* out,
                    uint64_t size_bytes, tessera_netcdf_error* error) {
  return guarded(error, [&] {
    const VariablePlace owner = attribute_owner(*file, variable);
    nc_type type = NC_NAT;
    std::size_t count = 0;
    check(nc_inq_att(owner.group, owner.id, name, &type, &count), "nc_inq_att");
    if (type == NC_STRING) {
      const std::string joined = string_list(owner, name, count);
      if (joined.size() != size_bytes) throw Failure(NC_EINVAL, "an attribute has another size");
      std::memcpy(out, joined.data(), joined.size());
      return;
    }
    std::size_t width = 0;
    check(nc_inq_type(owner.group, type, nullptr, &width), "nc_inq_type");
    if (public_type(type) == TESSERA_NETCDF_OTHER || width * count != size_bytes) {
      throw Failure(NC_EINVAL, "an attribute has another size");
    }
    if (count > 0) check(nc_get_att(owner.group, owner.id, name, out), "nc_get_att");
  });
}

int read(tessera_netcdf_file* file, int variable, const uint64_t* start, const uint64_t* count,
         void* out, tessera_netcdf_error* error) {
  return guarded(error, [&] {
    const VariablePlace& place = variable_at(*file, variable);
    int rank = 0;
    check(nc_inq_varndims(place.group, place.id, &rank), "nc_inq_varndims");
    const auto axes = static_cast<std::size_t>(rank);
    check(nc_get_vara(place.group, place.id, to_sizes(start, axes).data(),
                      to_sizes(count, axes).data(), out),
          "nc_get_vara");
  });
}

const char* library_versions() {
  static const std::string text = [] {
    const std::string netcdf = nc_inq_libvers();
    unsigned major = 0;
    unsigned minor = 0;
    unsigned release = 0;
    H5get_libversion(&major, &minor, &release);
    return "netCDF " + netcdf.substr(0, netcdf.find(' ')) + ", HDF5 " + std::to_string(major) +
           "." + std::to_string(minor) + "." + std::to_string(release);
  }();
  return text.c_str();
}

}  // namespace
}  // namespace tessera::io::netcdf

extern "C" __attribute__((visibility("default"))) const tessera_netcdf_functions*
tessera_netcdf_module(uint32_t abi_version) {
  if (abi_version != TESSERA_NETCDF_ABI_VERSION) return nullptr;
  using namespace tessera::io::netcdf;
  static const tessera_netcdf_functions functions = {
      TESSERA_NETCDF_ABI_VERSION,
      static_cast<uint32_t>(sizeof(tessera_netcdf_functions)),
      library_versions(),
      open_file,
      close_file,
      counts,
      dimension,
      variable,
      attribute,
      attribute_value,
      read,
      storage,
      chunk_table,
      raw_chunk,
      create,
      define_dimension,
      define_variable,
      put_attribute,
      end_definitions,
      write,
  };
  return &functions;
}
