#include "io/store.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <utility>

#include "core/file_system.hpp"
#include "core/storage_dtype.hpp"
#include "core/text.hpp"
#include "io/netcdf/cf_decode.hpp"
#include "io/netcdf/cf_encode.hpp"
#include "io/netcdf/cf_time.hpp"
#include "io/netcdf/netcdf_library.hpp"
#include "io/netcdf/netcdf_pile.hpp"
#include "io/netcdf/netcdf_pile_writer.hpp"
#include "io/npy/npy.hpp"
#include "io/numpy_dtype.hpp"
#include "io/png/heatmap.hpp"
#include "io/zarr/zarr_array.hpp"
#include "tessera/error.hpp"

namespace tessera::io {
namespace {

// Undecoded values held by a thread at a time, unless a single chunk of the file is larger.
constexpr std::size_t kRawBytes = std::size_t{4} << 20;
// Most that a chunk of a written file holds by default: what a reader must decode for one value.
constexpr std::size_t kChunkBytes = std::size_t{4} << 20;

std::string files_of(const NetcdfPile& pile) {
  const auto& paths = pile.paths();
  return core::text(paths.front(),
                    paths.size() > 1 ? core::text(" and ", paths.size() - 1, " more") : "");
}

class PileReader final : public core::RegionReader {
 public:
  PileReader(NetcdfPile pile, CfDecode plan) : pile_(std::move(pile)), plan_(std::move(plan)) {}

  const NetcdfPile& pile() const noexcept { return pile_; }

  void read(const std::vector<std::int64_t>& start, const std::vector<std::int64_t>& count,
            std::byte* out) const override {
    if (plan_.is_identity() || count.empty()) return read_part(start, count, out);
    std::int64_t row = 1;
    for (std::size_t axis = 1; axis < count.size(); ++axis) row *= count[axis];
    const auto row_bytes = static_cast<std::size_t>(row) * itemsize(plan_.stored);
    const auto rows = static_cast<std::int64_t>(kRawBytes / std::max<std::size_t>(row_bytes, 1));
    const Shape& chunk = pile_.variable().chunk_shape;
    const std::int64_t depth = chunk.empty() ? 1 : chunk[0];
    const std::int64_t end = start[0] + count[0];
    for (std::int64_t at = start[0]; at < end;) {
      // A slab ends where the file's chunks do, so that none is decompressed twice.
      const std::int64_t reach = at + std::max<std::int64_t>(rows, 1);
      const std::int64_t stop =
          std::min(end, std::max(reach / depth * depth, (at / depth + 1) * depth));
      Shape from = start;
      Shape size = count;
      from[0] = at;
      size[0] = stop - at;
      read_part(from, size,
                out + static_cast<std::size_t>((at - start[0]) * row) * itemsize(plan_.decoded));
      at = stop;
    }
  }

  std::string describe() const override { return pile_.variable().name + " of " + files_of(pile_); }

 private:
  void read_part(const Shape& start, const Shape& count, std::byte* out) const {
    if (plan_.is_identity()) return pile_.read_region(start, count, out);
    const auto elements = static_cast<std::size_t>(element_count(count));
    // Kept by each thread: fresh pages cost more than the decoding.
    thread_local std::vector<std::byte> raw;
    raw.resize(std::max(raw.size(), elements * itemsize(plan_.stored)));
    pile_.read_region(start, count, raw.data());
    cf_decode(plan_, raw.data(), out, elements);
  }

  NetcdfPile pile_;
  CfDecode plan_;
};

class NpyReader final : public core::RegionReader {
 public:
  explicit NpyReader(NpyFile file) : file_(std::move(file)) {}
  void read(const std::vector<std::int64_t>& start, const std::vector<std::int64_t>& count,
            std::byte* out) const override {
    file_.read_region(start, count, out);
  }
  std::string describe() const override { return file_.path(); }

 private:
  NpyFile file_;
};

class ZarrReader final : public core::RegionReader {
 public:
  explicit ZarrReader(ZarrArray array) : array_(std::move(array)) {}
  void read(const std::vector<std::int64_t>& start, const std::vector<std::int64_t>& count,
            std::byte* out) const override {
    array_.read_region(start, count, out);
  }
  std::string describe() const override { return array_.path(); }

 private:
  ZarrArray array_;
};

class ZarrRegionWriter final : public RegionWriter {
 public:
  explicit ZarrRegionWriter(ZarrWriter writer) : writer_(std::move(writer)) {}
  void write(const Shape& start, const Shape& count, const std::byte* in) const override {
    writer_.write_chunk(start, count, in);
  }
  void finish() override { writer_.finish(); }
  bool has(const Shape& start) const override { return writer_.has_chunk(start); }
  void abandon() noexcept override { writer_.abandon(); }

 private:
  ZarrWriter writer_;
};

class NpyRegionWriter final : public RegionWriter {
 public:
  explicit NpyRegionWriter(NpyWriter writer) : writer_(std::move(writer)) {}
  void write(const Shape& start, const Shape& count, const std::byte* in) const override {
    writer_.write_region(start, count, in);
  }
  void finish() override { writer_.finish(); }

 private:
  NpyWriter writer_;
};

class NetcdfRegionWriter final : public RegionWriter {
 public:
  NetcdfRegionWriter(const core::FileSystem& files, const std::string& path, NetcdfPileSpec spec,
                     Writers writers, DType dtype, const std::optional<NetcdfPacking>& packing)
      : writer_(files, path, std::move(spec), writers), dtype_(dtype), packing_(packing) {}

  void write(const Shape& start, const Shape& count, const std::byte* in) const override {
    if (!packing_) return writer_.write(start, count, in);
    const auto elements = static_cast<std::size_t>(element_count(count));
    std::vector<std::byte> packed(elements * itemsize(packing_->dtype));
    cf_encode(*packing_, dtype_, in, packed.data(), elements);
    writer_.write(start, count, packed.data());
  }
  void finish() override { writer_.finish(); }

 private:
  mutable NetcdfPileWriter writer_;
  DType dtype_;
  std::optional<NetcdfPacking> packing_;
};

// Extents of a file's chunk: of a block, halved along its longest axes until it is small.
Shape default_chunks(Shape block, std::size_t item) {
  for (std::int64_t& extent : block) extent = std::max<std::int64_t>(extent, 1);
  while (static_cast<std::size_t>(element_count(block)) * item > kChunkBytes) {
    std::int64_t& longest = *std::max_element(block.begin(), block.end());
    longest = (longest + 1) / 2;
  }
  return block;
}

[[noreturn]] void refuse_save(const std::string& what) {
  throw InvalidArgument("[save_netcdf] " + what);
}

void check_save(const SaveNetcdfOptions& options, const std::vector<std::string>& dimensions,
                const Shape& shape, DType dtype) {
  if (dtype == DType::kBool || is_complex(dtype) || !core::has_arithmetic(dtype)) {
    refuse_save(core::text("NetCDF has integers and floats of 32 and 64 bits; got ", dtype,
                           "; try astype, or real() and imag()"));
  }
  if (dimensions.size() != shape.size()) {
    refuse_save(core::text("each axis has one dimension's name; got ", dimensions.size(),
                           " names for shape ", to_string(shape)));
  }
  if (std::set<std::string>(dimensions.begin(), dimensions.end()).size() != dimensions.size())
    refuse_save("the dimensions' names must differ; got one of them twice");
  if (options.steps_per_file < 0 || (options.steps_per_file > 0 && shape.empty())) {
    refuse_save(core::text("files hold 1 step or more along the first axis; got ",
                           options.steps_per_file, " for shape ", to_string(shape)));
  }
  if (options.deflate_level < 0 || options.deflate_level > 9) {
    refuse_save(core::text("the compression level is one of 0 to 9; got ", options.deflate_level));
  }
  if (!options.chunks.empty() && options.chunks.size() != shape.size()) {
    refuse_save(core::text("chunks have an extent for each axis; got ", to_string(options.chunks),
                           " for shape ", to_string(shape)));
  }
  for (const std::int64_t extent : options.chunks) {
    if (extent < 1)
      refuse_save(core::text("chunks have extents of 1 or more; got ", to_string(options.chunks)));
  }
  for (const Coordinate& coordinate : options.coordinates) {
    const auto found = std::find(dimensions.begin(), dimensions.end(), coordinate.dimension);
    if (found == dimensions.end()) {
      refuse_save(core::text("a coordinate belongs to a dimension; got \"", coordinate.dimension,
                             "\" for \"", coordinate.name, "\""));
    }
    const std::int64_t extent = shape[static_cast<std::size_t>(found - dimensions.begin())];
    if (static_cast<std::int64_t>(coordinate.values.size()) != extent) {
      refuse_save(core::text("a coordinate has a value for each index; got ",
                             coordinate.values.size(), " of \"", coordinate.name, "\" for ",
                             extent));
    }
  }
  if (!options.packing) return;
  if (!is_floating(dtype)) {
    refuse_save(core::text("floats are packed; got ", dtype, "; try saving without packing"));
  }
  if (!std::isfinite(options.packing->scale_factor) || options.packing->scale_factor == 0.0 ||
      !std::isfinite(options.packing->add_offset)) {
    refuse_save(core::text("packing needs a finite scale other than 0, and a finite offset; got ",
                           options.packing->scale_factor, " and ", options.packing->add_offset));
  }
  packed_fill(options.packing->dtype);
}

void add_text(std::vector<NetcdfAttribute>& attributes, const char* name,
              const std::string& value) {
  if (!value.empty()) attributes.push_back(NetcdfAttribute::text(name, value));
}

VariableInfo describe_variable(const NetcdfVariable& variable, DType decoded) {
  VariableInfo info;
  info.name = variable.name;
  info.dimensions = variable.dimensions;
  info.shape = variable.shape;
  info.dtype = decoded;
  info.units = variable.text("units");
  info.long_name = variable.text("long_name");
  info.standard_name = variable.text("standard_name");
  return info;
}

std::vector<Date> decode_dates(const std::string& units, const std::string& calendar,
                               const std::vector<double>& values) {
  std::vector<Date> dates;
  const CfTime time = CfTime::parse(units, calendar);
  dates.reserve(values.size());
  for (const double value : values) {
    const CfDate d = time.decode(value);
    dates.push_back(
        {d.year, d.month, d.day, d.day_of_year, d.hour, d.minute, d.second, d.to_string()});
  }
  return dates;
}

// Data can be read without their dates: what is wrong with these is told to whoever asks for them.
void add_dates(const PileCoordinate& found, const std::string& files, Coordinate& coordinate) {
  try {
    coordinate.dates = decode_dates(coordinate.units, found.text("calendar"), coordinate.values);
  } catch (const InvalidArgument& error) {
    coordinate.dates_problem =
        core::text("[netcdf] times must be dates of their calendar; got coordinate \"", found.name,
                   "\" of ", files, ": ", error.what());
  }
}

void add_coordinates(const NetcdfPile& pile, VariableInfo& info) {
  for (std::size_t axis = 0; axis < info.dimensions.size(); ++axis) {
    const PileCoordinate* found = pile.coordinate_of(info.dimensions[axis]);
    if (found == nullptr) continue;
    Coordinate coordinate;
    coordinate.name = found->name;
    coordinate.dimension = found->dimension;
    coordinate.units = found->text("units");
    coordinate.calendar = found->text("calendar");
    coordinate.values = found->values;
    if (CfTime::is_time_units(coordinate.units)) {
      add_dates(*found, files_of(pile), coordinate);
      if (info.time_axis < 0) info.time_axis = static_cast<int>(axis);
    }
    info.coordinates.push_back(std::move(coordinate));
  }
}

// The axis of a single file's variable whose dimension has a coordinate in time units.
int time_axis_of(const NetcdfFile& file, const NetcdfVariable& variable) {
  for (std::size_t axis = 0; axis < variable.dimensions.size(); ++axis) {
    const std::string& dimension = variable.dimensions[axis];
    for (const std::string& name : file.variable_names()) {
      const NetcdfVariable& other = file.variable(name);
      if (other.dimensions.size() == 1 && other.dimensions[0] == dimension &&
          CfTime::is_time_units(other.text("units"))) {
        return static_cast<int>(axis);
      }
    }
  }
  return -1;
}

// A variable that cannot be decoded is listed all the same; opening it says what is wrong.
DType listed_dtype(const NetcdfVariable& variable) {
  try {
    return cf_decode_plan(variable).decoded;
  } catch (const IoError&) {
    return *variable.dtype;
  }
}

HeatmapAxis heatmap_axis(const PlotAxis& axis) {
  return {axis.name, axis.units, axis.values, axis.downward};
}

}  // namespace

Source open_netcdf(const core::FileSystem& files, const std::string& path,
                   const std::string& variable, const std::string& dimension) {
  NetcdfPile pile = NetcdfPile::open(files, path, variable, {.concat_dimension = dimension});
  Source source;
  CfDecode plan = cf_decode_plan(pile.variable());
  source.info = describe_variable(pile.variable(), plan.decoded);
  add_coordinates(pile, source.info);
  source.stored_chunks = pile.variable().chunk_shape;
  source.joined_axis = pile.concat_axis();
  source.file_extents = pile.extents();
  source.reader = std::make_shared<PileReader>(std::move(pile), std::move(plan));
  return source;
}

std::vector<VariableInfo> list_netcdf(const core::FileSystem& files, const std::string& path) {
  const NetcdfFile file =
      NetcdfFile::open(files, find_netcdf_files(files, path, "list_variables").front());
  std::vector<VariableInfo> out;
  for (const std::string& name : file.variable_names()) {
    const NetcdfVariable& variable = file.variable(name);
    if (!variable.dtype) continue;
    out.push_back(describe_variable(variable, listed_dtype(variable)));
    out.back().time_axis = time_axis_of(file, variable);
  }
  return out;
}

Source open_npy(const core::FileSystem& files, const std::string& path) {
  NpyFile file = NpyFile::open(files, path);
  Source source;
  source.info.name = path;
  source.info.shape = file.shape();
  source.info.dtype = file.dtype();
  source.reader = std::make_shared<NpyReader>(std::move(file));
  return source;
}

Source open_zarr(const core::FileSystem& files, const std::string& path) {
  ZarrArray array = ZarrArray::open(files, path);
  const ZarrMetadata& metadata = array.metadata();
  Source source;
  source.info.name = path;
  source.info.shape = metadata.shape;
  source.info.dtype = metadata.dtype;
  source.info.dimensions = metadata.dimensions;
  source.stored_chunks = metadata.chunks;
  source.reader = std::make_shared<ZarrReader>(std::move(array));
  return source;
}

std::unique_ptr<RegionWriter> create_zarr(const core::FileSystem& files, const std::string& path,
                                          const SaveZarrOptions& options, const Shape& shape,
                                          DType dtype, const Shape& chunks,
                                          const WritersOfFolder& writers) {
  if (numpy_dtype(dtype).empty()) {
    throw InvalidArgument(core::text("[save_zarr] a dtype must exist in NumPy; got ", dtype,
                                     "; try astype(float32)"));
  }
  if (options.level < 1 || options.level > 9) {
    throw InvalidArgument(
        core::text("[save_zarr] the compression level is one of 1 to 9; got ", options.level));
  }
  if (!options.dimensions.empty() && options.dimensions.size() != shape.size()) {
    throw InvalidArgument(core::text("[save_zarr] each axis has one dimension's name; got ",
                                     options.dimensions.size(), " names for shape ",
                                     to_string(shape)));
  }
  ZarrMetadata metadata;
  metadata.shape = shape;
  metadata.chunks = chunks;
  metadata.dtype = dtype;
  metadata.dimensions = options.dimensions;
  metadata.codec = options.compressor == ZarrCompressor::kZstd   ? ZarrCodec::kZstd
                   : options.compressor == ZarrCompressor::kZlib ? ZarrCodec::kZlib
                                                                 : ZarrCodec::kNone;
  return std::make_unique<ZarrRegionWriter>(
      ZarrWriter::create(files, path, std::move(metadata), options.level, writers));
}

std::unique_ptr<RegionWriter> create_npy(const core::FileSystem& files, const std::string& path,
                                         const Shape& shape, DType dtype) {
  return std::make_unique<NpyRegionWriter>(NpyWriter::create(files, path, shape, dtype));
}

std::unique_ptr<RegionWriter> create_shared_npy(const core::FileSystem& files,
                                                const std::string& path, const Shape& shape,
                                                DType dtype,
                                                const core::AtomicFile::Shared& shared) {
  return std::make_unique<NpyRegionWriter>(NpyWriter::create(files, path, shape, dtype, shared));
}

std::unique_ptr<RegionWriter> create_netcdf(const core::FileSystem& files, const std::string& path,
                                            const SaveNetcdfOptions& options, const Shape& shape,
                                            DType dtype, const Shape& block, Writers writers) {
  std::vector<std::string> dimensions = options.dimensions;
  for (std::size_t axis = 0; axis < shape.size() && options.dimensions.empty(); ++axis)
    dimensions.push_back(core::text("dim_", axis));
  check_save(options, dimensions, shape, dtype);
  NetcdfPileSpec spec;
  spec.shape = shape;
  spec.steps_per_file = options.steps_per_file;
  NetcdfVariableSpec& variable = spec.variable;
  variable.name = options.variable;
  variable.dtype = options.packing ? options.packing->dtype : dtype;
  variable.dimensions = std::move(dimensions);
  variable.deflate_level = shape.empty() ? 0 : options.deflate_level;  // a number has no chunks
  variable.shuffle = options.shuffle && variable.deflate_level > 0;
  const bool chunked = variable.deflate_level > 0 || options.steps_per_file > 0;
  if (!shape.empty()) {
    variable.chunk_shape = !options.chunks.empty() ? options.chunks
                           : chunked               ? default_chunks(block, itemsize(variable.dtype))
                                                   : Shape{};
  }
  if (options.packing) {
    variable.fill_value = packed_fill(variable.dtype);
    const auto number = [&](const char* name, double value) {
      variable.attributes.push_back(NetcdfAttribute::number(name, DType::kFloat64, Scalar(value)));
    };
    number("scale_factor", options.packing->scale_factor);
    number("add_offset", options.packing->add_offset);
  } else if (is_floating(dtype)) {
    variable.fill_value = Scalar(std::numeric_limits<double>::quiet_NaN());
  }
  add_text(variable.attributes, "units", options.units);
  add_text(variable.attributes, "long_name", options.long_name);
  add_text(variable.attributes, "standard_name", options.standard_name);
  std::string named;  // coordinates that a reader would not find by their dimension
  for (const Coordinate& coordinate : options.coordinates) {
    PileCoordinate& out = spec.coordinates.emplace_back();
    out.name = coordinate.name.empty() ? coordinate.dimension : coordinate.name;
    out.dimension = coordinate.dimension;
    out.values = coordinate.values;
    add_text(out.attributes, "units", coordinate.units);
    add_text(out.attributes, "calendar", coordinate.calendar);
    if (out.name != out.dimension) named += (named.empty() ? "" : " ") + out.name;
  }
  add_text(variable.attributes, "coordinates", named);
  return std::make_unique<NetcdfRegionWriter>(files, path, std::move(spec), writers, dtype,
                                              options.packing);
}

void write_picture(const core::FileSystem& files, const std::string& path,
                   std::span<const double> values, std::int64_t rows, std::int64_t columns,
                   const PngOptions& options) {
  HeatmapOptions heatmap;
  heatmap.title = options.title;
  heatmap.units = options.units;
  if (options.range) {
    heatmap.low = options.range->first;
    heatmap.high = options.range->second;
  }
  heatmap.colormap = options.diverging ? Colormap::kDiverging : Colormap::kSequential;
  heatmap.y = heatmap_axis(options.y);
  heatmap.x = heatmap_axis(options.x);
  write_heatmap(files, path, values, rows, columns, heatmap);
}

std::string netcdf_support() { return netcdf_module_status().text; }

}  // namespace tessera::io
