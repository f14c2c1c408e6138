#pragma once

#include <unistd.h>

#include <string>
#include <vector>

#include "core/visit_real.hpp"
#include "io/netcdf/netcdf_file.hpp"
#include "io/netcdf/netcdf_library.hpp"
#include "io/netcdf/netcdf_types.hpp"
#include "io/netcdf/netcdf_writer.hpp"
#include "tests/io/io_fixture.hpp"

namespace tessera::io {

/// Skips where the NetCDF module is not built or cannot be loaded.
class NetcdfFixture : public IoFixture {
 protected:
  void SetUp() override {
    if (!netcdf_module_status().available)
      GTEST_SKIP() << "no NetCDF module: " << netcdf_module_status().text;
  }
  /// All values of a variable, as bytes.
  std::string read_all(const NetcdfFile& file, const std::string& variable) const {
    const NetcdfVariable& info = file.variable(variable);
    std::string bytes(static_cast<std::size_t>(region_elements(info.shape)) * itemsize(*info.dtype),
                      '\0');
    file.read(variable, Shape(info.shape.size(), 0), info.shape, bytes.data());
    return bytes;
  }
};

/// Values of any dtype as bytes: small integers with a pattern, so that all dtypes hold them.
inline std::string sample_values(DType dtype, std::int64_t elements, std::uint64_t seed) {
  std::string bytes(static_cast<std::size_t>(elements) * itemsize(dtype), '\0');
  std::mt19937_64 random(seed);
  core::visit_real(dtype, [&]<typename T>(T) {
    for (std::int64_t i = 0; i < elements; ++i) {
      const auto value = static_cast<T>((random() % 50) + static_cast<std::uint64_t>(i) % 70);
      std::memcpy(bytes.data() + static_cast<std::size_t>(i) * sizeof(T), &value, sizeof(T));
    }
  });
  return bytes;
}

/// Writes a file with one variable "v" over dimensions d0, d1, ... (the first unlimited if asked
/// for).
inline void write_variable(const core::FileSystem& fs, const std::string& path, const Shape& shape,
                           NetcdfVariableSpec spec, const std::string& values,
                           NetcdfFormat format = NetcdfFormat::kNetcdf4, bool unlimited = false) {
  NetcdfWriter writer = NetcdfWriter::create(fs, path, format);
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    spec.dimensions.push_back("d" + std::to_string(axis));
    writer.add_dimension(spec.dimensions.back(), shape[axis], unlimited && axis == 0);
  }
  spec.name = "v";
  writer.add_variable(spec);
  writer.write("v", Shape(shape.size(), 0), shape, values.data());
  writer.finish();
}

}  // namespace tessera::io
