#include "io/netcdf/netcdf_file.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>

#include "core/text.hpp"
#include "core/visit_real.hpp"
#include "io/netcdf/classic_layout.hpp"
#include "io/netcdf/global_heap.hpp"
#include "io/netcdf/netcdf_library.hpp"
#include "io/netcdf/netcdf_types.hpp"
#include "io/region.hpp"
#include "tessera/error.hpp"

namespace tessera::io {
namespace {

// H5Dget_chunk_info walks from the first chunk each time: 4096 chunks take 0.1 s in all, 20000
// take 2.3 s.
constexpr std::uint64_t kMaxTableChunks = 4096;
// A grid may be mostly holes; a table of it must stay small.
constexpr std::uint64_t kMaxGridChunks = 1024 * 1024;

Shape to_shape(const std::uint64_t* values, int rank) {
  Shape shape;
  for (int axis = 0; axis < rank; ++axis) shape.push_back(static_cast<std::int64_t>(values[axis]));
  return shape;
}

std::vector<std::uint64_t> to_unsigned(const Shape& shape) {
  return std::vector<std::uint64_t>(shape.begin(), shape.end());
}

template <typename Stored, typename Kept>
std::vector<Kept> convert(const std::vector<std::byte>& bytes) {
  std::vector<Kept> values(bytes.size() / sizeof(Stored));
  for (std::size_t i = 0; i < values.size(); ++i) {
    Stored value;
    std::memcpy(&value, bytes.data() + i * sizeof(Stored), sizeof(Stored));
    values[i] = static_cast<Kept>(value);
  }
  return values;
}

/// Chunks of the grid over what is stored, at most kMaxGridChunks + 1.
std::uint64_t grid_chunks(const VariableLayout& layout) {
  std::uint64_t chunks = 1;
  for (std::size_t axis = 0; axis < layout.stored.size(); ++axis) {
    const std::int64_t extent = layout.chunk_shape[axis];
    const auto along = static_cast<std::uint64_t>((layout.stored[axis] - 1) / extent + 1);
    if (layout.stored[axis] == 0) return 0;
    if (along > kMaxGridChunks) return kMaxGridChunks + 1;
    chunks = std::min(chunks * along, kMaxGridChunks + 1);
  }
  return chunks;
}

std::string join(const std::vector<std::string>& names) {
  std::string joined;
  for (const std::string& name : names) joined += (joined.empty() ? "" : ", ") + name;
  return joined;
}

}  // namespace

struct NetcdfFile::State {
  std::string path;
  core::File file;
  core::FileStatus status;
  const tessera_netcdf_functions* functions = nullptr;
  NetcdfHandle handle;
  std::vector<NetcdfDimension> dimensions;
  std::vector<std::string> names;
  int attribute_count = 0;

  // Filled on first use; never erased, so that references stay valid.
  mutable std::mutex mutex;
  mutable std::map<int, NetcdfVariable> variables;
  mutable std::map<int, std::shared_ptr<const VariableLayout>> layouts;
  mutable std::optional<std::vector<NetcdfAttribute>> global_attributes;

  int find(std::string_view name) const {
    const auto place = std::find(names.begin(), names.end(), name);
    return place == names.end() ? -1 : static_cast<int>(place - names.begin());
  }
  int index_of(std::string_view name) const {
    const int index = find(name);
    if (index >= 0) return index;
    throw InvalidArgument(core::text("[netcdf] the file must hold the variable; got \"", name,
                                     "\" of ", path, "; try one of: ", join(names)));
  }
  std::vector<NetcdfAttribute> load_attributes(int variable, int count) const;
  const NetcdfVariable& load_variable(int index) const;
  std::shared_ptr<const VariableLayout> load_layout(int index) const;
  VariableLayout hdf5_layout(int index, const NetcdfVariable& variable) const;
  void load_chunk_table(int index, VariableLayout& layout, std::uint64_t chunk_count) const;
  bool fetch_raw(int index, const Shape& origin, std::vector<std::byte>& raw,
                 std::uint32_t& mask) const;
};

std::vector<NetcdfAttribute> NetcdfFile::State::load_attributes(int variable, int count) const {
  std::vector<NetcdfAttribute> attributes;
  tessera_netcdf_error error{};
  const char* rule = "attributes must be readable";
  for (int i = 0; i < count; ++i) {
    tessera_netcdf_attribute info{};
    check_netcdf(functions->attribute(handle.get(), variable, i, &info, &error), error, rule, path);
    NetcdfAttribute attribute;
    attribute.name = info.name;
    const bool text = info.type == TESSERA_NETCDF_CHAR || info.type == TESSERA_NETCDF_STRING;
    attribute.dtype = text ? std::nullopt : dtype_of_netcdf(info.type);
    if (!text && !attribute.dtype) continue;  // user-defined types mean nothing to CF
    std::vector<std::byte> bytes(info.count * (text ? 1 : itemsize(*attribute.dtype)));
    check_netcdf(functions->attribute_value(handle.get(), variable, info.name, bytes.data(),
                                            bytes.size(), &error),
                 error, rule, path);
    if (text) {
      std::string value(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      while (!value.empty() && value.back() == '\0') value.pop_back();
      attribute.value = std::move(value);
    } else {
      core::visit_real(*attribute.dtype, [&]<typename T>(T) {
        if constexpr (std::is_floating_point_v<T>) {
          attribute.value = convert<T, double>(bytes);
        } else if constexpr (std::is_signed_v<T>) {
          attribute.value = convert<T, std::int64_t>(bytes);
        } else {
          attribute.value = convert<T, std::uint64_t>(bytes);
        }
      });
    }
    attributes.push_back(std::move(attribute));
  }
  return attributes;
}

const NetcdfVariable& NetcdfFile::State::load_variable(int index) const {
  const std::lock_guard lock(mutex);
  const auto known = variables.find(index);
  if (known != variables.end()) return known->second;
  auto info = std::make_unique<tessera_netcdf_variable>();
  tessera_netcdf_error error{};
  check_netcdf(functions->variable(handle.get(), index, info.get(), &error), error,
               "variables must be readable", path);
  NetcdfVariable variable;
  variable.name = info->name;
  variable.dtype = dtype_of_netcdf(info->type);
  variable.type_name = name_of_netcdf_type(info->type);
  for (int axis = 0; axis < info->rank; ++axis) {
    const NetcdfDimension& dimension = dimensions[static_cast<std::size_t>(info->dimensions[axis])];
    variable.dimensions.push_back(dimension.name);
    variable.shape.push_back(dimension.length);
    if (info->chunked)
      variable.chunk_shape.push_back(static_cast<std::int64_t>(info->chunks[axis]));
  }
  variable.path = path;
  variable.attributes = load_attributes(index, info->attributes);
  return variables.emplace(index, std::move(variable)).first->second;
}

void NetcdfFile::State::load_chunk_table(int index, VariableLayout& layout,
                                         std::uint64_t chunk_count) const {
  const std::uint64_t grid = grid_chunks(layout);
  std::vector<tessera_netcdf_chunk> places(chunk_count);
  tessera_netcdf_error error{};
  check_netcdf(functions->chunk_table(handle.get(), index, places.data(), chunk_count, &error),
               error, "the chunks of a variable must be readable", path);
  layout.chunks.resize(grid);
  for (const tessera_netcdf_chunk& place : places) {
    if (place.size_bytes == 0) continue;
    // A variable that was made shorter keeps chunks beyond its end.
    if (place.index >= grid) continue;
    if (place.size_bytes > UINT32_MAX || place.offset > status.size_bytes ||
        place.size_bytes > status.size_bytes - place.offset) {
      throw IoError(core::text("[netcdf] a file must hold its chunks; got ", path, ": chunk ",
                               place.index, " of ", layout.name, " at byte ", place.offset, " of ",
                               status.size_bytes, "; try copying the file again"));
    }
    layout.chunks[place.index] = {place.offset, static_cast<std::uint32_t>(place.size_bytes),
                                  place.filter_mask};
  }
}

VariableLayout NetcdfFile::State::hdf5_layout(int index, const NetcdfVariable& variable) const {
  VariableLayout layout;
  layout.name = variable.name;
  layout.dtype = *variable.dtype;
  layout.shape = variable.shape;
  auto storage = std::make_unique<tessera_netcdf_storage>();
  tessera_netcdf_error error{};
  check_netcdf(functions->storage(handle.get(), index, storage.get(), &error), error,
               "the storage of a variable must be readable", path);
  if (storage->kind == TESSERA_NETCDF_STORAGE_LIBRARY) return layout;
  layout.stored = to_shape(storage->extents, storage->rank);
  bool fits = layout.stored.size() == layout.shape.size();
  for (std::size_t axis = 0; fits && axis < layout.shape.size(); ++axis) {
    fits = layout.stored[axis] <= layout.shape[axis];
  }
  if (!fits) return layout;
  layout.swapped = (storage->big_endian != 0) == (std::endian::native == std::endian::little) &&
                   itemsize(layout.dtype) > 1;
  std::memcpy(layout.hole_fill.data(), storage->hole_fill, layout.hole_fill.size());
  std::memcpy(layout.beyond_fill.data(), storage->beyond_fill, layout.beyond_fill.size());
  if (storage->kind == TESSERA_NETCDF_STORAGE_CONTIGUOUS) {
    layout.never_written = storage->data_offset == UINT64_MAX;
    layout.data_offset = storage->data_offset;
    layout.kind = VariableLayout::Kind::kFlat;
    return layout;
  }
  layout.chunk_shape = to_shape(storage->chunks, storage->rank);
  layout.filter_ids.assign(storage->filter_ids, storage->filter_ids + storage->filters);
  if (!can_decode(layout.filter_ids)) return layout;
  if (storage->chunk_count > kMaxTableChunks || grid_chunks(layout) > kMaxGridChunks) {
    layout.kind = VariableLayout::Kind::kRawChunks;
  } else {
    load_chunk_table(index, layout, storage->chunk_count);
    layout.kind = VariableLayout::Kind::kChunks;
  }
  return layout;
}

std::shared_ptr<const VariableLayout> NetcdfFile::State::load_layout(int index) const {
  const NetcdfVariable& variable = load_variable(index);
  const std::lock_guard lock(mutex);
  const auto known = layouts.find(index);
  if (known != layouts.end()) return known->second;
  if (!variable.dtype) {
    throw InvalidArgument(core::text("[netcdf] a variable must hold numbers; got \"", variable.name,
                                     "\" of ", path, ", which holds ", variable.type_name,
                                     "; try one of: ", join(names)));
  }
  auto layout = classic_layout(file, variable.name);
  if (layout && layout->shape != variable.shape) layout->kind = VariableLayout::Kind::kLibrary;
  if (!layout) layout = hdf5_layout(index, variable);
  return layouts.emplace(index, std::make_shared<const VariableLayout>(std::move(*layout)))
      .first->second;
}

bool NetcdfFile::State::fetch_raw(int index, const Shape& origin, std::vector<std::byte>& raw,
                                  std::uint32_t& mask) const {
  tessera_netcdf_error error{};
  const char* rule = "a chunk must be readable";
  std::uint64_t size_bytes = 0;
  const auto place = to_unsigned(origin);
  check_netcdf(functions->raw_chunk(handle.get(), index, place.data(), nullptr, 0, &size_bytes,
                                    &mask, &error),
               error, rule, path);
  if (size_bytes == 0) return false;
  if (size_bytes > status.size_bytes) {
    throw IoError(core::text("[netcdf] a file must hold its chunks; got ", path, ": a chunk of ",
                             size_bytes, " bytes in a file of ", status.size_bytes,
                             "; try copying the file again"));
  }
  raw.resize(size_bytes);
  check_netcdf(functions->raw_chunk(handle.get(), index, place.data(), raw.data(), raw.size(),
                                    &size_bytes, &mask, &error),
               error, rule, path);
  return true;
}

NetcdfFile::NetcdfFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
NetcdfFile::NetcdfFile(NetcdfFile&&) noexcept = default;
NetcdfFile& NetcdfFile::operator=(NetcdfFile&&) noexcept = default;
NetcdfFile::~NetcdfFile() = default;

NetcdfFile NetcdfFile::open(const core::FileSystem& file_system, const std::string& path) {
  auto state = std::make_unique<State>();
  state->path = path;
  state->functions = &netcdf_functions();
  state->file = file_system.open(path, "netcdf");
  state->status = state->file.status();
  // The library takes a classic header that is cut off for a shorter one.
  classic_layout(state->file, "");
  check_global_heaps(state->file);
  tessera_netcdf_error error{};
  const char* rule = "a NetCDF file must be readable";
  tessera_netcdf_file* handle = nullptr;
  check_netcdf(state->functions->open(path.c_str(), &handle, &error), error, rule, path);
  state->handle = NetcdfHandle(handle);
  int dimensions = 0;
  int variables = 0;
  check_netcdf(
      state->functions->counts(handle, &dimensions, &variables, &state->attribute_count, &error),
      error, rule, path);
  auto dimension = std::make_unique<tessera_netcdf_dimension>();
  for (int i = 0; i < dimensions; ++i) {
    check_netcdf(state->functions->dimension(handle, i, dimension.get(), &error), error, rule,
                 path);
    state->dimensions.push_back(
        {dimension->name, static_cast<std::int64_t>(dimension->length), dimension->unlimited != 0});
  }
  auto name = std::make_unique<tessera_netcdf_variable>();
  for (int i = 0; i < variables; ++i) {
    check_netcdf(state->functions->variable(handle, i, name.get(), &error), error, rule, path);
    state->names.emplace_back(name->name);
  }
  return NetcdfFile(std::move(state));
}

const std::string& NetcdfFile::path() const noexcept { return state_->path; }
const core::FileStatus& NetcdfFile::status() const noexcept { return state_->status; }
const std::vector<NetcdfDimension>& NetcdfFile::dimensions() const noexcept {
  return state_->dimensions;
}
const std::vector<std::string>& NetcdfFile::variable_names() const noexcept {
  return state_->names;
}
bool NetcdfFile::has_variable(std::string_view name) const noexcept {
  return state_->find(name) >= 0;
}

const NetcdfVariable& NetcdfFile::variable(std::string_view name) const {
  return state_->load_variable(state_->index_of(name));
}

const std::vector<NetcdfAttribute>& NetcdfFile::attributes() const {
  const std::lock_guard lock(state_->mutex);
  if (!state_->global_attributes) {
    state_->global_attributes = state_->load_attributes(-1, state_->attribute_count);
  }
  return *state_->global_attributes;
}

std::shared_ptr<const VariableLayout> NetcdfFile::layout(std::string_view variable) const {
  return state_->load_layout(state_->index_of(variable));
}

void NetcdfFile::read(std::string_view variable, const Shape& start, const Shape& count,
                      void* out) const {
  const int index = state_->index_of(variable);
  const auto where = state_->load_layout(index);
  check_region("netcdf", path(), where->shape, start, count);
  check_unchanged(state_->file, state_->status);
  if (region_elements(count) == 0) return;
  if (where->kind != VariableLayout::Kind::kLibrary) {
    const auto raw = [&](const Shape& origin, std::vector<std::byte>& bytes, std::uint32_t& mask) {
      return state_->fetch_raw(index, origin, bytes, mask);
    };
    return read_layout(*where, state_->file, raw, start, count, out);
  }
  tessera_netcdf_error error{};
  check_netcdf(state_->functions->read(state_->handle.get(), index, to_unsigned(start).data(),
                                       to_unsigned(count).data(), out, &error),
               error, core::text("variable ", variable, " must be readable"), path());
}

std::vector<double> NetcdfFile::read_doubles(std::string_view variable) const {
  const NetcdfVariable& info = this->variable(variable);
  const DType dtype = layout(variable)->dtype;
  const auto elements = static_cast<std::size_t>(element_count(info.shape));
  std::vector<std::byte> bytes(elements * itemsize(dtype));
  read(variable, Shape(info.shape.size(), 0), info.shape, bytes.data());
  return to_doubles(dtype, bytes.data(), elements);
}

void check_unchanged(const core::File& file, const core::FileStatus& expected) {
  if (file.status() == expected) return;
  throw IoError(
      core::text("[netcdf] a file must not change while it is in use; got ", file.path(),
                 ": another size or modification time than when it was opened; try opening it "
                 "again"));
}

}  // namespace tessera::io
