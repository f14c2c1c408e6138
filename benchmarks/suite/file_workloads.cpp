// Files: piles of NetCDF to a map. The files are in the page cache, as they are for what stands
// beside.

#include <filesystem>
#include <string>

#include "benchmarks/suite/workload.hpp"
#include "core/file_system.hpp"
#include "core/text.hpp"
#include "io/netcdf/netcdf_writer.hpp"

namespace tessera::benchmarks {
namespace {

namespace ts = tessera;

struct Pile {
  std::int64_t files, times, lat, lon;
};

/// One file of float32 fields whose values repeat now and then, as measured ones do.
void write_file(const std::string& path, const Pile& pile, std::int64_t number, int level) {
  io::NetcdfWriter writer = io::NetcdfWriter::create(core::posix_file_system(), path);
  writer.add_dimension("time", 0, true);
  writer.add_dimension("lat", pile.lat);
  writer.add_dimension("lon", pile.lon);
  writer.add_variable(
      {.name = "time",
       .dimensions = {"time"},
       .attributes = {io::NetcdfAttribute::text("units", "hours since 2001-01-01")}});
  writer.add_variable({.name = "t",
                       .dtype = DType::kFloat32,
                       .dimensions = {"time", "lat", "lon"},
                       .chunk_shape = {1, pile.lat, pile.lon},
                       .deflate_level = level,
                       .shuffle = level > 0});
  std::vector<double> times;
  std::vector<float> values;
  for (std::int64_t t = 0; t < pile.times; ++t) {
    times.push_back(static_cast<double>(number * pile.times + t));
    for (std::int64_t i = 0; i < pile.lat; ++i) {
      for (std::int64_t j = 0; j < pile.lon; ++j) {
        const std::int64_t cell = (i * 31 + j * 17 + t * 7 + number * 3) & 4095;
        values.push_back(250.0F + static_cast<float>(cell) * 0.01F);
      }
    }
  }
  writer.write("time", {0}, {pile.times}, times.data());
  writer.write("t", {0, 0, 0}, {pile.times, pile.lat, pile.lon}, values.data());
  writer.finish();
}

/// The files that a row reads, made unless they are there.
std::string pile_of(Measure& row, const Pile& pile, int level) {
  const std::string folder =
      core::text(row.sizes().folder, "/pile_", level, "_", pile.files, "x", pile.lat);
  row.say("files", pile.files);
  row.say("times", pile.times);
  row.say("lat", pile.lat);
  row.say("lon", pile.lon);
  row.say("level", level);
  const core::FileSystem& files = core::posix_file_system();
  const std::string last = core::text(folder, "/f_", 1000 + pile.files - 1, ".nc");
  if (!files.find(last)) {
    files.make_directories(folder, "bench_suite");
    for (std::int64_t i = 0; i < pile.files; ++i)
      write_file(core::text(folder, "/f_", 1000 + i, ".nc"), pile, i, level);
  }
  return folder;
}

Pile sizes_of(const Measure& row) {
  return row.sizes().quick ? Pile{4, 6, 91, 180} : Pile{20, 24, 361, 720};
}

void pile_mean(Measure& row, int level) {
  const Pile pile = sizes_of(row);
  const std::string folder = pile_of(row, pile, level);
  const std::int64_t elements = pile.files * pile.times * pile.lat * pile.lon;
  row.measure({4 * elements, elements, Bound::kFiles}, {}, [&] {
    return std::vector{ts::nanmean(ts::open(folder + "/*.nc", "t"), {.axis = 0})};
  });
  row.agree(0, {.relative = 1e-5});
}
void netcdf_mean(Measure& row) { pile_mean(row, 0); }
void netcdf_mean_deflated(Measure& row) { pile_mean(row, 1); }

/// What differs from the mean, in as many files.
void netcdf_to_pile(Measure& row) {
  const Pile pile = sizes_of(row);
  const std::string folder = pile_of(row, pile, 0);
  const std::string out = core::text(row.sizes().folder, "/anomaly_tessera");
  core::posix_file_system().make_directories(out, "bench_suite");
  ts::SaveNetcdfOptions options = ts::save_as(ts::describe(folder + "/*.nc", "t"));
  options.steps_per_file = pile.times;
  options.chunks = {1, pile.lat, pile.lon};
  const std::int64_t elements = pile.files * pile.times * pile.lat * pile.lon;
  row.measure({8 * elements, elements, Bound::kFiles}, {}, [&] {
    const ts::Array x = ts::open(folder + "/*.nc", "t");
    ts::save_netcdf(x - ts::nanmean(x, {.axis = 0}), out + "/a_*.nc", options);
    return std::vector{ts::open(out + "/a_*.nc", "t")[{-1}]};
  });
  row.agree(0, {.relative = 0.0, .absolute = 0.02});
}

void zarr_rechunk(Measure& row) {
  const std::int64_t n = row.sizes().quick ? 1'024 : 8'192;
  row.say("n", n);
  row.say("chunk", n / 16);
  const std::string from = core::text(row.sizes().folder, "/rows_", n);
  const std::string to = core::text(row.sizes().folder, "/columns_tessera");
  if (!core::posix_file_system().find(from)) {
    const ts::Array i = ts::arange(n, {.chunks = {n / 16}, .dtype = ts::float64});
    const ts::Array x = ts::expand_dims(i, 1) + ts::remainder(i * 31.0, 4096.0);
    ts::save_zarr(ts::rechunk(x, {n / 16, n}), from);
  }
  row.measure({16 * n * n, n * n, Bound::kFiles}, {}, [&] {
    std::filesystem::remove_all(to);
    ts::save_zarr(ts::rechunk(ts::open_zarr(from), {n, n / 16}), to);
    return std::vector{ts::open_zarr(to)[{-1}]};
  });
  row.agree(0, {});
}

constexpr Workload kWorkloads[] = {
    {"netcdf_mean", "pile of NetCDF files to its mean map", netcdf_mean},
    {"netcdf_mean_deflated", "the same, zlib 1 with shuffle", netcdf_mean_deflated},
    {"netcdf_to_pile", "pile of NetCDF files, less its mean, to another pile", netcdf_to_pile},
    {"zarr_rechunk", "read Zarr in rows, rechunk to columns, write Zarr", zarr_rechunk},
};

}  // namespace

std::span<const Workload> file_workloads() { return kWorkloads; }

}  // namespace tessera::benchmarks
