#include "io/netcdf/netcdf_file.hpp"

#include <algorithm>
#include <cstdlib>

#include "core/text.hpp"
#include "tests/io/netcdf_fixture.hpp"

namespace tessera::io {
namespace {

using Kind = VariableLayout::Kind;

class Netcdf : public NetcdfFixture {
 protected:
  /// What plain nc_get_vara gives: the reference for everything that goes round the library.
  std::string read_by_library(const std::string& file, int variable, const Shape& start,
                              const Shape& count, std::size_t width) const {
    const tessera_netcdf_functions& functions = netcdf_functions();
    tessera_netcdf_error error{};
    tessera_netcdf_file* handle = nullptr;
    EXPECT_EQ(functions.open(file.c_str(), &handle, &error), 0) << error.text;
    const NetcdfHandle owned(handle);
    const std::vector<std::uint64_t> from(start.begin(), start.end());
    const std::vector<std::uint64_t> extents(count.begin(), count.end());
    std::string bytes(static_cast<std::size_t>(region_elements(count)) * width, '\0');
    EXPECT_EQ(functions.read(handle, variable, from.data(), extents.data(), bytes.data(), &error),
              0)
        << error.text;
    return bytes;
  }
  void expect_reads(const std::string& file, const Shape& shape, DType dtype,
                    const std::string& values, Kind kind, const std::string& what) const {
    const NetcdfFile netcdf = NetcdfFile::open(fs_, file);
    EXPECT_EQ(netcdf.layout("v")->kind, kind) << what;
    EXPECT_EQ(netcdf.variable("v").shape, shape);
    EXPECT_EQ(netcdf.variable("v").dtype, dtype);
    ASSERT_TRUE(read_all(netcdf, "v") == values) << what;
    std::mt19937_64 random(3);
    const std::size_t width = itemsize(dtype);
    for (int round = 0; round < 12; ++round) {
      Shape start;
      Shape count;
      random_region(random, shape, start, count);
      std::string region(static_cast<std::size_t>(region_elements(count)) * width, '\0');
      netcdf.read("v", start, count, region.data());
      ASSERT_TRUE(region == slice_bytes(values, shape, start, count, width))
          << what << to_string(start) << to_string(count);
      ASSERT_TRUE(region == read_by_library(file, 0, start, count, width)) << what;
    }
  }
};

const std::vector<DType> kDtypes{DType::kInt8,    DType::kInt16,  DType::kInt32,  DType::kInt64,
                                 DType::kUInt8,   DType::kUInt16, DType::kUInt32, DType::kUInt64,
                                 DType::kFloat32, DType::kFloat64};

TEST_F(Netcdf, ReadsEveryDtypeAndStorageAsTheLibraryDoes) {
  const Shape shape{7, 9, 10};
  struct Storage {
    const char* name;
    Shape chunks;
    int deflate;
    bool shuffle;
    bool fletcher32;
  };
  const Storage storages[] = {
      {"contiguous", {}, 0, false, false},         {"chunks", {2, 4, 10}, 0, false, false},
      {"deflate", {1, 9, 10}, 4, false, false},    {"shuffle", {3, 4, 3}, 1, true, false},
      {"all", {2, 9, 4}, 2, true, true},           {"sums", {7, 2, 5}, 0, false, true},
      {"only shuffle", {2, 3, 10}, 0, true, false}};
  for (const DType dtype : kDtypes) {
    const std::string values = sample_values(dtype, region_elements(shape), 17);
    for (const Storage& storage : storages) {
      for (const bool big_endian : {false, true}) {
        NetcdfVariableSpec spec;
        spec.dtype = dtype;
        spec.chunk_shape = storage.chunks;
        spec.deflate_level = storage.deflate;
        spec.shuffle = storage.shuffle;
        spec.fletcher32 = storage.fletcher32;
        spec.big_endian = big_endian;
        write_variable(fs_, path("a.nc"), shape, spec, values);
        expect_reads(path("a.nc"), shape, dtype, values,
                     storage.chunks.empty() ? Kind::kFlat : Kind::kChunks,
                     std::string(storage.name) + " " + std::string(name(dtype)) +
                         (big_endian ? " big" : " little"));
      }
    }
  }
}

TEST_F(Netcdf, ReadsClassicFormatsAndRecords) {
  for (const NetcdfFormat format :
       {NetcdfFormat::kClassic, NetcdfFormat::k64BitOffset, NetcdfFormat::k64BitData}) {
    for (const DType dtype : kDtypes) {
      const bool classic_type = dtype == DType::kInt8 || dtype == DType::kInt16 ||
                                dtype == DType::kInt32 || is_floating(dtype);
      if (format != NetcdfFormat::k64BitData && !classic_type) continue;
      for (const bool unlimited : {false, true}) {
        // 3 x 5 values of one byte make a record of 15 bytes: padded only beside other record
        // variables.
        const Shape shape{6, 3, 5};
        const std::string values = sample_values(dtype, 90, 5);
        NetcdfVariableSpec spec;
        spec.dtype = dtype;
        write_variable(fs_, path("a.nc"), shape, spec, values, format, unlimited);
        expect_reads(path("a.nc"), shape, dtype, values, Kind::kFlat,
                     "classic " + std::string(name(dtype)));
      }
    }
  }
}

TEST_F(Netcdf, ReadsSeveralRecordVariables) {
  for (const NetcdfFormat format :
       {NetcdfFormat::kClassic, NetcdfFormat::k64BitData, NetcdfFormat::kNetcdf4}) {
    NetcdfWriter writer = NetcdfWriter::create(fs_, path("a.nc"), format);
    writer.add_dimension("time", 0, true);
    writer.add_dimension("x", 5);
    for (const auto& [name, dtype] :
         {std::pair{"a", DType::kInt8}, {"b", DType::kInt16}, {"c", DType::kFloat64}}) {
      NetcdfVariableSpec spec;
      spec.name = name;
      spec.dtype = dtype;
      spec.dimensions = {"time", "x"};
      spec.attributes = {NetcdfAttribute::text("long_name", "seven!!"),
                         NetcdfAttribute::number("n", DType::kInt16, 3)};
      writer.add_variable(spec);
    }
    writer.add_attribute(NetcdfAttribute::text("title", "odd"));
    const std::string a = sample_values(DType::kInt8, 20, 1);
    const std::string b = sample_values(DType::kInt16, 20, 2);
    const std::string c = sample_values(DType::kFloat64, 20, 3);
    writer.write("a", {0, 0}, {4, 5}, a.data());
    writer.write("b", {0, 0}, {4, 5}, b.data());
    writer.write("c", {0, 0}, {4, 5}, c.data());
    writer.finish();
    const NetcdfFile file = NetcdfFile::open(fs_, path("a.nc"));
    EXPECT_EQ(read_all(file, "a"), a);
    EXPECT_EQ(read_all(file, "b"), b);
    EXPECT_EQ(read_all(file, "c"), c);
    EXPECT_TRUE(file.dimensions()[0].unlimited);
    EXPECT_EQ(file.dimensions()[0].length, 4);
  }
}

TEST_F(Netcdf, ScalarsAndEmptyArrays) {
  for (const NetcdfFormat format : {NetcdfFormat::kClassic, NetcdfFormat::kNetcdf4}) {
    NetcdfVariableSpec spec;
    spec.dtype = DType::kInt32;
    const std::string value = sample_values(DType::kInt32, 1, 9);
    write_variable(fs_, path("a.nc"), {}, spec, value, format);
    EXPECT_EQ(read_all(NetcdfFile::open(fs_, path("a.nc")), "v"), value);
    write_variable(fs_, path("a.nc"), {0, 3}, spec, "", format, true);
    const NetcdfFile empty = NetcdfFile::open(fs_, path("a.nc"));
    EXPECT_EQ(empty.variable("v").shape, (Shape{0, 3}));
    EXPECT_EQ(read_all(empty, "v"), "");
  }
}

TEST_F(Netcdf, UnwrittenValuesReadAsTheLibraryReadsThem) {
  for (const bool with_fill : {false, true}) {
    NetcdfWriter writer = NetcdfWriter::create(fs_, path("a.nc"));
    writer.add_dimension("time", 0, true);
    writer.add_dimension("x", 6);
    NetcdfVariableSpec spec;
    spec.dtype = DType::kInt16;
    spec.dimensions = {"time", "x"};
    spec.chunk_shape = {2, 4};
    spec.deflate_level = 1;
    if (with_fill) spec.fill_value = Scalar(-7);
    for (const char* name : {"v", "w"}) {
      spec.name = name;
      writer.add_variable(spec);
    }
    NetcdfVariableSpec flat;
    flat.name = "flat";
    flat.dtype = DType::kFloat32;
    flat.dimensions = {"x"};
    writer.add_variable(flat);
    // v has a hole in its grid of chunks; w ends before the dimension does; flat is never written.
    const std::string values = sample_values(DType::kInt16, 12, 1);
    writer.write("v", {6, 0}, {2, 6}, values.data());
    writer.write("w", {1, 1}, {1, 2}, values.data());
    writer.finish();
    const NetcdfFile file = NetcdfFile::open(fs_, path("a.nc"));
    EXPECT_EQ(file.layout("v")->kind, Kind::kChunks);
    EXPECT_EQ(file.variable("w").shape, (Shape{8, 6}));
    EXPECT_TRUE(read_all(file, "v") == read_by_library(path("a.nc"), 0, {0, 0}, {8, 6}, 2));
    EXPECT_TRUE(read_all(file, "w") == read_by_library(path("a.nc"), 1, {0, 0}, {8, 6}, 2));
    EXPECT_TRUE(read_all(file, "flat") == read_by_library(path("a.nc"), 2, {0}, {6}, 4));
    std::string part(3 * 4 * 2, '\0');
    file.read("w", {1, 1}, {3, 4}, part.data());
    EXPECT_TRUE(part == read_by_library(path("a.nc"), 1, {1, 1}, {3, 4}, 2));
    file.read("w", {5, 0}, {2, 6}, part.data());
    EXPECT_TRUE(part == read_by_library(path("a.nc"), 1, {5, 0}, {2, 6}, 2));
  }
}

TEST_F(Netcdf, ReadsManyChunksWithoutATable) {
  const Shape shape{5000, 4};
  NetcdfVariableSpec spec;
  spec.dtype = DType::kInt16;
  spec.chunk_shape = {1, 4};
  spec.deflate_level = 1;
  spec.shuffle = true;
  const std::string values = sample_values(DType::kInt16, 20'000, 8);
  write_variable(fs_, path("a.nc"), shape, spec, values);
  const NetcdfFile file = NetcdfFile::open(fs_, path("a.nc"));
  EXPECT_EQ(file.layout("v")->kind, Kind::kRawChunks);
  EXPECT_TRUE(read_all(file, "v") == values);
  std::string part(100 * 2 * 2, '\0');
  file.read("v", {4000, 1}, {100, 2}, part.data());
  EXPECT_TRUE(part == slice_bytes(values, shape, {4000, 1}, {100, 2}, 2));
}

TEST_F(Netcdf, KeepsAttributesExactly) {
  const std::vector<NetcdfAttribute> attributes{
      NetcdfAttribute::text("units", "degree_C"),
      NetcdfAttribute::text("empty", ""),
      NetcdfAttribute::number("f", DType::kFloat32, 0.1f),
      NetcdfAttribute::number("d", DType::kFloat64, 0.1),
      NetcdfAttribute::number("big", DType::kInt64, std::int64_t{-9'007'199'254'740'993}),
      NetcdfAttribute::number("huge", DType::kUInt64, std::uint64_t{18'446'744'073'709'551'615u}),
      NetcdfAttribute::number("small", DType::kInt8, -5)};
  NetcdfVariableSpec spec;
  spec.dtype = DType::kFloat64;
  spec.attributes = attributes;
  write_variable(fs_, path("a.nc"), {2}, spec, sample_values(DType::kFloat64, 2, 1));
  const NetcdfFile file = NetcdfFile::open(fs_, path("a.nc"));
  const NetcdfVariable& variable = file.variable("v");
  for (const NetcdfAttribute& attribute : attributes) {
    ASSERT_NE(variable.find(attribute.name), nullptr) << attribute.name;
    EXPECT_EQ(*variable.find(attribute.name), attribute) << attribute.name;
  }
  EXPECT_EQ(variable.find("none"), nullptr);
  EXPECT_EQ(variable.text("units"), "degree_C");
  EXPECT_EQ(variable.text("f"), "");
  EXPECT_EQ(variable.find("big")->at(0), Scalar(std::int64_t{-9'007'199'254'740'993}));
}

TEST_F(Netcdf, ReadsWhatPythonWrites) {
  TESSERA_NEEDS_PYTHON("netCDF4");
  bool ok = false;
  const std::string output = run_python(
      "import netCDF4, numpy as np\n"
      "d = netCDF4.Dataset('" +
          path("a.nc") +
          "', 'w')\n"
          "d.createDimension('x', 40); d.createDimension('n', 3)\n"
          "g = d.createGroup('ocean/deep'); g.createDimension('z', 4)\n"
          "rng = np.random.default_rng(1)\n"
          "def put(name, group, dims, **k):\n"
          "  v = group.createVariable(name.split('/')[-1], 'f4', dims, **k)\n"
          "  v[:] = rng.normal(size=v.shape).astype('f4')\n"
          "  v.set_auto_mask(False)\n"
          "  open('" +
          folder_ +
          "/' + name.replace('/', '_') + '.raw', "
          "'wb').write(np.ascontiguousarray(v[:]).tobytes())\n"
          "  return v\n"
          "put('sz', d, ('x',), compression='szip', chunksizes=(20,))\n"
          "put('zl', d, ('x',), compression='zlib', chunksizes=(7,), fletcher32=True)\n"
          "put('lossy', d, ('x',), compression='zlib', least_significant_digit=2)\n"
          "put('x', d, ('n', 'x'), chunksizes=(2, 9), zlib=True)\n"
          "v = put('ocean/deep/temp', g, ('z', 'x'))\n"
          "v.setncattr_string('notes', ['one', 'two'])\n"
          "v.levels = np.array([1, 2, 3], 'i2')\n"
          "s = d.createVariable('names', str, ('n',)); s[:] = np.array(['a', 'b', 'c'], object)\n"
          "c = d.createVariable('letters', 'S1', ('n',)); c[:] = np.array(['a', 'b', 'c'], 'S1')\n"
          "d.title = 'caf\\u00e9'\n"
          "d.close()\n",
      folder_, ok);
  ASSERT_TRUE(ok) << output;
  const NetcdfFile file = NetcdfFile::open(fs_, path("a.nc"));
  const std::vector<std::pair<std::string, Kind>> expected{{"sz", Kind::kLibrary},
                                                           {"zl", Kind::kChunks},
                                                           {"lossy", Kind::kChunks},
                                                           {"x", Kind::kChunks},
                                                           {"ocean/deep/temp", Kind::kFlat}};
  for (const auto& [name, kind] : expected) {
    std::string raw = name;
    std::replace(raw.begin(), raw.end(), '/', '_');
    EXPECT_EQ(file.layout(name)->kind, kind) << name;
    EXPECT_TRUE(read_all(file, name) == fs_.read_file(path(raw + ".raw"))) << name;
  }
  EXPECT_EQ(file.variable("ocean/deep/temp").dimensions,
            (std::vector<std::string>{"ocean/deep/z", "x"}));
  EXPECT_EQ(file.variable("ocean/deep/temp").text("notes"), "one\ntwo");
  EXPECT_EQ(file.variable("ocean/deep/temp").find("levels")->size(), 3u);
  EXPECT_EQ(file.attributes().at(0).as_text(), "caf\xC3\xA9");
  EXPECT_EQ(file.variable("names").type_name, "string");
  EXPECT_EQ(file.variable("letters").type_name, "char");
  char letters[3];
  EXPECT_NE(error_text<InvalidArgument>([&] { file.read("letters", {0}, {3}, letters); })
                .find("[netcdf] a variable must hold numbers; got \"letters\" of " + path("a.nc") +
                      ", which holds char"),
            std::string::npos);
}

TEST_F(Netcdf, ErrorsNameFileAndVariable) {
  EXPECT_EQ(error_text<IoError>([&] { NetcdfFile::open(fs_, path("none.nc")); }),
            "[netcdf] a file must exist and be readable; got " + path("none.nc") +
                ": No such file or directory; try checking the spelling of the path and that its "
                "folder exists");
  write_bytes(path("text.nc"), "hello, this is no NetCDF file at all");
  EXPECT_EQ(error_text<IoError>([&] { NetcdfFile::open(fs_, path("text.nc")); }),
            "[netcdf] a NetCDF file must be readable; got " + path("text.nc") +
                ": nc_open: NetCDF: Unknown file format; try checking that the file is a complete "
                "NetCDF file");
  write_variable(fs_, path("a.nc"), {4}, {}, sample_values(DType::kFloat64, 4, 1));
  const NetcdfFile file = NetcdfFile::open(fs_, path("a.nc"));
  EXPECT_EQ(error_text<InvalidArgument>([&] { file.variable("tos"); }),
            "[netcdf] the file must hold the variable; got \"tos\" of " + path("a.nc") +
                "; try one of: v");
  double values[4];
  EXPECT_NE(error_text<InvalidArgument>([&] {
              file.read("v", {2}, {3}, values);
            }).find("a region must lie inside"),
            std::string::npos);
  ::usleep(20'000);
  write_variable(fs_, path("a.nc"), {4}, {}, sample_values(DType::kFloat64, 4, 1));
  // The open handle still shows the old file, which is consistent; one that is changed in place is
  // not.
  file.read("v", {0}, {4}, values);
  const NetcdfFile other = NetcdfFile::open(fs_, path("a.nc"));
  ::usleep(20'000);
  std::fstream(path("a.nc"), std::ios::in | std::ios::out | std::ios::binary | std::ios::ate)
      << "x";
  EXPECT_NE(error_text<IoError>([&] {
              other.read("v", {0}, {4}, values);
            }).find("[netcdf] a file must not change while it is in use; got " + path("a.nc")),
            std::string::npos);
}

// Those of the repository, and real ones where TESSERA_TEST_DATA names their folder.
TEST_F(Netcdf, FilesReadAsPythonReadsThem) {
  TESSERA_NEEDS_PYTHON("netCDF4");
  const char* real = std::getenv("TESSERA_TEST_DATA");
  const std::string folders =
      std::string("['" TESSERA_IO_DATA "'") + (real ? core::text(", '", real, "'") : "") + "]";
  bool ok = false;
  const std::string output = run_python(
      "import netCDF4, glob, numpy as np\n"
      "k = 0\n"
      "for f in sorted(sum((glob.glob(g + '/**/*.nc', recursive=True) for g in " +
          folders +
          "), [])):\n"
          "  d = netCDF4.Dataset(f); d.set_auto_maskandscale(False)\n"
          "  for n, v in d.variables.items():\n"
          "    open(f'" +
          folder_ +
          "/{k}.raw', 'wb').write(np.asarray(v[...]).tobytes())\n"
          "    print(n, v.dtype.name, f); k += 1\n",
      folder_, ok);
  ASSERT_TRUE(ok) << output;
  std::istringstream lines(output);
  std::string file_path;
  std::string variable;
  std::string dtype;
  int k = 0;
  // The path is the rest of the line, whatever it holds.
  for (; lines >> variable >> dtype >> std::ws && std::getline(lines, file_path); ++k) {
    const NetcdfFile file = NetcdfFile::open(fs_, file_path);
    EXPECT_EQ(std::string(name(*file.variable(variable).dtype)), dtype);
    EXPECT_NE(file.layout(variable)->kind, Kind::kLibrary) << file_path << " " << variable;
    EXPECT_TRUE(read_all(file, variable) == fs_.read_file(path(std::to_string(k) + ".raw")))
        << file_path << " " << variable;
  }
  EXPECT_GE(k, 11);
}

}  // namespace
}  // namespace tessera::io
