#include <memory>

#include "io/netcdf/netcdf_module_internal.hpp"

namespace tessera::io::netcdf {

int create(const char* path, int format, tessera_netcdf_file** out, tessera_netcdf_error* error) {
  return guarded(error, [&] {
    static constexpr int kModes[] = {NC_NETCDF4, 0, NC_64BIT_OFFSET, NC_64BIT_DATA};
    if (format < 0 || format > TESSERA_NETCDF_FORMAT_64BIT_DATA)
      throw Failure(NC_EINVAL, "unknown format");
    auto file = std::make_unique<tessera_netcdf_file>();
    file->path = path;
    check(nc_create(path, NC_CLOBBER | kModes[format], &file->id), "nc_create");
    file->is_hdf5 = format == TESSERA_NETCDF_FORMAT_NETCDF4;
    *out = file.release();
  });
}

int define_dimension(tessera_netcdf_file* file, const char* name, uint64_t length, int unlimited,
                     int* index, tessera_netcdf_error* error) {
  return guarded(error, [&] {
    int id = 0;
    check(nc_def_dim(file->id, name, unlimited ? NC_UNLIMITED : length, &id), "nc_def_dim");
    *index = static_cast<int>(file->dimensions.size());
    file->dimensions.push_back({file->id, id, name, unlimited != 0});
  });
}

int define_variable(tessera_netcdf_file* file, const tessera_netcdf_variable_spec* spec, int* index,
                    tessera_netcdf_error* error) {
  return guarded(error, [&] {
    int ids[TESSERA_NETCDF_MAX_RANK] = {};
    if (spec->rank > TESSERA_NETCDF_MAX_RANK) throw Failure(NC_EMAXDIMS, "more than 64 dimensions");
    for (int axis = 0; axis < spec->rank; ++axis) {
      ids[axis] = file->dimensions.at(static_cast<std::size_t>(spec->dimensions[axis])).id;
    }
    int id = 0;
    check(nc_def_var(file->id, spec->name, spec->type, spec->rank, ids, &id), "nc_def_var");
    if (spec->chunks != nullptr) {
      const auto chunks = to_sizes(spec->chunks, static_cast<std::size_t>(spec->rank));
      check(nc_def_var_chunking(file->id, id, NC_CHUNKED, chunks.data()), "nc_def_var_chunking");
    }
    if (spec->deflate_level > 0 || spec->shuffle) {
      check(nc_def_var_deflate(file->id, id, spec->shuffle, spec->deflate_level > 0,
                               spec->deflate_level),
            "nc_def_var_deflate");
    }
    if (spec->fletcher32)
      check(nc_def_var_fletcher32(file->id, id, NC_FLETCHER32), "nc_def_var_fletcher32");
    if (spec->big_endian)
      check(nc_def_var_endian(file->id, id, NC_ENDIAN_BIG), "nc_def_var_endian");
    if (spec->fill_value != nullptr) {
      check(nc_def_var_fill(file->id, id, NC_FILL, spec->fill_value), "nc_def_var_fill");
    }
    *index = static_cast<int>(file->variables.size());
    file->variables.push_back({file->id, id, spec->name});
  });
}

int put_attribute(tessera_netcdf_file* file, int variable, const char* name, int type,
                  uint64_t count, const void* values, tessera_netcdf_error* error) {
  return guarded(error, [&] {
    const VariablePlace owner = attribute_owner(*file, variable);
    check(nc_put_att(owner.group, owner.id, name, type, count, values), "nc_put_att");
  });
}

int end_definitions(tessera_netcdf_file* file, tessera_netcdf_error* error) {
  return guarded(error, [&] { check(nc_enddef(file->id), "nc_enddef"); });
}

int write(tessera_netcdf_file* file, int variable, const uint64_t* start, const uint64_t* count,
          const void* in, tessera_netcdf_error* error) {
  return guarded(error, [&] {
    const VariablePlace& place = variable_at(*file, variable);
    int rank = 0;
    check(nc_inq_varndims(place.group, place.id, &rank), "nc_inq_varndims");
    const auto axes = static_cast<std::size_t>(rank);
    check(nc_put_vara(place.group, place.id, to_sizes(start, axes).data(),
                      to_sizes(count, axes).data(), in),
          "nc_put_vara");
  });
}

}  // namespace tessera::io::netcdf
