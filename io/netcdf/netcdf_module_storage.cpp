#include <cstdint>

#include "io/netcdf/netcdf_module_internal.hpp"

namespace tessera::io::netcdf {
namespace {

template <typename T>
T check_hdf5(T result, const char* call) {
  if (result < 0) throw Failure(NC_EHDFERR, std::string(call) + ": HDF5 error");
  return result;
}

/// Closes an HDF5 handle of any kind.
class Hdf5Handle {
 public:
  Hdf5Handle(hid_t id, const char* call) : id_(check_hdf5(id, call)) {}
  Hdf5Handle(const Hdf5Handle&) = delete;
  Hdf5Handle& operator=(const Hdf5Handle&) = delete;
  ~Hdf5Handle() { H5Idec_ref(id_); }
  operator hid_t() const { return id_; }

 private:
  hid_t id_;
};

/// The HDF5 dataset of a variable, opened once more beside netCDF's own handle.
hid_t dataset_of(tessera_netcdf_file& file, int variable) {
  if (file.dataset_variable == variable && file.dataset >= 0) return file.dataset;
  if (file.hdf5_file < 0) {
    file.hdf5_file = check_hdf5(H5Fopen(file.path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), "H5Fopen");
  }
  if (file.dataset >= 0) H5Dclose(file.dataset);
  file.dataset = -1;
  // netCDF stores a variable that shares a dimension's name without being its coordinate under a
  // prefix.
  const std::string& name = variable_at(file, variable).name;
  const std::size_t slash = name.rfind('/');
  const std::size_t base = slash == std::string::npos ? 0 : slash + 1;
  const std::string prefixed = name.substr(0, base) + "_nc4_non_coord_" + name.substr(base);
  const bool hidden = H5Lexists(file.hdf5_file, prefixed.c_str(), H5P_DEFAULT) > 0;
  const std::string& stored = hidden ? prefixed : name;
  file.dataset = check_hdf5(H5Dopen2(file.hdf5_file, stored.c_str(), H5P_DEFAULT), "H5Dopen2");
  file.dataset_variable = variable;
  return file.dataset;
}

hid_t native_type(nc_type type) {
  switch (type) {
    case NC_BYTE:
      return H5T_NATIVE_INT8;
    case NC_UBYTE:
      return H5T_NATIVE_UINT8;
    case NC_SHORT:
      return H5T_NATIVE_INT16;
    case NC_USHORT:
      return H5T_NATIVE_UINT16;
    case NC_INT:
      return H5T_NATIVE_INT32;
    case NC_UINT:
      return H5T_NATIVE_UINT32;
    case NC_INT64:
      return H5T_NATIVE_INT64;
    case NC_UINT64:
      return H5T_NATIVE_UINT64;
    case NC_FLOAT:
      return H5T_NATIVE_FLOAT;
    case NC_DOUBLE:
      return H5T_NATIVE_DOUBLE;
    default:
      return -1;
  }
}

/// Whether the bytes of `stored` are those of `native`, possibly in the other order.
bool same_bits(hid_t stored, hid_t native, bool& big_endian) {
  const H5T_order_t order = H5Tget_order(stored);
  if (order != H5T_ORDER_LE && order != H5T_ORDER_BE) return false;
  big_endian = order == H5T_ORDER_BE;
  const Hdf5Handle ordered(H5Tcopy(native), "H5Tcopy");
  check_hdf5(H5Tset_order(ordered, order), "H5Tset_order");
  return H5Tequal(stored, ordered) > 0;
}

/// Fills layout, chunks and filters; the kind stays LIBRARY where only the library can read them.
void describe_layout(hid_t dataset, hid_t space, hid_t plist, tessera_netcdf_storage& out) {
  const H5D_layout_t layout = H5Pget_layout(plist);
  if (layout == H5D_CONTIGUOUS) {
    const haddr_t offset = H5Dget_offset(dataset);
    out.data_offset = offset == HADDR_UNDEF ? UINT64_MAX : offset;
    out.kind = TESSERA_NETCDF_STORAGE_CONTIGUOUS;
    return;
  }
  if (layout != H5D_CHUNKED) return;
  hsize_t chunks[H5S_MAX_RANK] = {};
  if (H5Pget_chunk(plist, out.rank, chunks) != out.rank) return;
  for (int axis = 0; axis < out.rank; ++axis) out.chunks[axis] = chunks[axis];
  out.filters = check_hdf5(H5Pget_nfilters(plist), "H5Pget_nfilters");
  if (out.filters > TESSERA_NETCDF_MAX_FILTERS) return;
  for (int i = 0; i < out.filters; ++i) {
    unsigned flags = 0;
    std::size_t parameters = 0;
    const H5Z_filter_t id = check_hdf5(H5Pget_filter2(plist, static_cast<unsigned>(i), &flags,
                                                      &parameters, nullptr, 0, nullptr, nullptr),
                                       "H5Pget_filter2");
    out.filter_ids[i] = static_cast<std::uint32_t>(id);
  }
  hsize_t chunk_count = 0;
  check_hdf5(H5Dget_num_chunks(dataset, space, &chunk_count), "H5Dget_num_chunks");
  out.chunk_count = chunk_count;
  out.kind = TESSERA_NETCDF_STORAGE_CHUNKED;
}

/// Fills extents and byte order; false where the values are not plain numbers of the NetCDF type.
bool describe_values(hid_t dataset, hid_t space, hid_t native, int rank,
                     tessera_netcdf_storage& out) {
  if (H5Sget_simple_extent_ndims(space) != rank) return false;
  hsize_t extents[H5S_MAX_RANK] = {};
  check_hdf5(H5Sget_simple_extent_dims(space, extents, nullptr), "H5Sget_simple_extent_dims");
  out.rank = rank;
  for (int axis = 0; axis < rank; ++axis) out.extents[axis] = extents[axis];
  const Hdf5Handle stored(H5Dget_type(dataset), "H5Dget_type");
  bool big_endian = false;
  if (!same_bits(stored, native, big_endian)) return false;
  out.big_endian = big_endian ? 1 : 0;
  return true;
}

/// Fills what can be read outside the library; leaves the kind LIBRARY where it cannot.
void describe_storage(tessera_netcdf_file& file, int variable, tessera_netcdf_storage& out) {
  const VariablePlace& place = variable_at(file, variable);
  nc_type type = NC_NAT;
  int rank = 0;
  check(nc_inq_var(place.group, place.id, nullptr, &type, &rank, nullptr, nullptr), "nc_inq_var");
  const hid_t native = native_type(type);
  if (!file.is_hdf5 || native < 0 || rank > TESSERA_NETCDF_MAX_RANK) return;
  int no_fill = 0;
  check(nc_inq_var_fill(place.group, place.id, &no_fill, out.beyond_fill), "nc_inq_var_fill");
  const hid_t dataset = dataset_of(file, variable);
  const Hdf5Handle space(H5Dget_space(dataset), "H5Dget_space");
  if (!describe_values(dataset, space, native, rank, out)) return;

  const Hdf5Handle plist(H5Dget_create_plist(dataset), "H5Dget_create_plist");
  const Hdf5Handle file_plist(H5Fget_create_plist(file.hdf5_file), "H5Fget_create_plist");
  hsize_t user_block = 0;
  // Whether chunk addresses count from a user block's end differs between HDF5 releases.
  check_hdf5(H5Pget_userblock(file_plist, &user_block), "H5Pget_userblock");
  if (user_block != 0 || H5Pget_external_count(plist) != 0) return;
  H5D_fill_value_t defined = H5D_FILL_VALUE_UNDEFINED;
  check_hdf5(H5Pfill_value_defined(plist, &defined), "H5Pfill_value_defined");
  if (defined != H5D_FILL_VALUE_UNDEFINED) {
    check_hdf5(H5Pget_fill_value(plist, native, out.hole_fill), "H5Pget_fill_value");
  }
  describe_layout(dataset, space, plist, out);
}

}  // namespace

int storage(tessera_netcdf_file* file, int variable, tessera_netcdf_storage* out,
            tessera_netcdf_error* error) {
  return guarded(error, [&] {
    *out = tessera_netcdf_storage{};
    describe_storage(*file, variable, *out);
  });
}

int chunk_table(tessera_netcdf_file* file, int variable, tessera_netcdf_chunk* out, uint64_t count,
                tessera_netcdf_error* error) {
  return guarded(error, [&] {
    tessera_netcdf_storage where{};
    describe_storage(*file, variable, where);
    if (where.kind != TESSERA_NETCDF_STORAGE_CHUNKED || where.chunk_count != count) {
      throw Failure(NC_EINVAL, "the chunk table has another size");
    }
    const hid_t dataset = dataset_of(*file, variable);
    const Hdf5Handle space(H5Dget_space(dataset), "H5Dget_space");
    for (std::uint64_t i = 0; i < count; ++i) {
      hsize_t origin[H5S_MAX_RANK] = {};
      unsigned mask = 0;
      haddr_t address = HADDR_UNDEF;
      hsize_t size = 0;
      check_hdf5(H5Dget_chunk_info(dataset, space, i, origin, &mask, &address, &size),
                 "H5Dget_chunk_info");
      std::uint64_t index = 0;
      for (int axis = 0; axis < where.rank; ++axis) {
        const std::uint64_t chunk = where.chunks[axis];
        index = index * ((where.extents[axis] + chunk - 1) / chunk) + origin[axis] / chunk;
      }
      out[i] = {index, address, address == HADDR_UNDEF ? 0 : size, mask};
    }
  });
}

int raw_chunk(tessera_netcdf_file* file, int variable, const uint64_t* origin, void* out,
              uint64_t capacity, uint64_t* size_bytes, uint32_t* filter_mask,
              tessera_netcdf_error* error) {
  return guarded(error, [&] {
    const hid_t dataset = dataset_of(*file, variable);
    const Hdf5Handle space(H5Dget_space(dataset), "H5Dget_space");
    const int rank = check_hdf5(H5Sget_simple_extent_ndims(space), "H5Sget_simple_extent_ndims");
    const std::vector<hsize_t> place(origin, origin + rank);
    hsize_t size = 0;
    // Fails for a chunk that was never written.
    if (H5Dget_chunk_storage_size(dataset, place.data(), &size) < 0) size = 0;
    *size_bytes = size;
    if (size == 0 || out == nullptr) return;
    if (size > capacity) throw Failure(NC_EINVAL, "a chunk is larger than its buffer");
    check_hdf5(H5Dread_chunk(dataset, H5P_DEFAULT, place.data(), filter_mask, out),
               "H5Dread_chunk");
  });
}

}  // namespace tessera::io::netcdf
