#include "io/store.hpp"

#include <algorithm>
#include <utility>

#include "core/file_system.hpp"
#include "core/text.hpp"
#include "io/netcdf/cf_decode.hpp"
#include "io/netcdf/cf_time.hpp"
#include "io/netcdf/netcdf_library.hpp"
#include "io/netcdf/netcdf_pile.hpp"
#include "io/npy/npy.hpp"
#include "io/png/heatmap.hpp"
#include "tessera/error.hpp"

namespace tessera::io {
namespace {

// Undecoded values held by a thread at a time, unless a single chunk of the file is larger.
constexpr std::size_t kRawBytes = std::size_t{4} << 20;

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
    Coordinate coordinate{found->name, found->dimension, found->text("units"), found->values, {},
                          {}};
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
