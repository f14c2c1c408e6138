#include "io/netcdf/netcdf_writer.hpp"

#include <cstring>
#include <utility>

#include "core/text.hpp"
#include "core/visit_real.hpp"
#include "io/netcdf/netcdf_types.hpp"
#include "tessera/error.hpp"

namespace tessera::io {
namespace {

constexpr const char* kRule = "a NetCDF file must be writable";

std::vector<std::uint64_t> to_unsigned(const Shape& shape) {
  return std::vector<std::uint64_t>(shape.begin(), shape.end());
}

std::vector<std::byte> stored_values(const NetcdfAttribute& attribute) {
  std::vector<std::byte> bytes(attribute.size() * itemsize(*attribute.dtype));
  core::visit_real(*attribute.dtype, [&]<typename T>(T) {
    for (std::size_t i = 0; i < attribute.size(); ++i) {
      const T value = attribute.at(i).to<T>();
      std::memcpy(bytes.data() + i * sizeof(T), &value, sizeof(T));
    }
  });
  return bytes;
}

}  // namespace

NetcdfWriter::NetcdfWriter(core::AtomicFile file, NetcdfHandle handle)
    : file_(std::move(file)), handle_(std::move(handle)) {}

NetcdfWriter NetcdfWriter::create(const core::FileSystem& file_system, const std::string& path,
                                  NetcdfFormat format) {
  const tessera_netcdf_functions& functions = netcdf_functions();
  core::AtomicFile file(file_system, path, "netcdf");
  tessera_netcdf_file* handle = nullptr;
  tessera_netcdf_error error{};
  check_netcdf(
      functions.create(file.temporary_path().c_str(), static_cast<int>(format), &handle, &error),
      error, kRule, path);
  return NetcdfWriter(std::move(file), NetcdfHandle(handle));
}

void NetcdfWriter::add_dimension(const std::string& name, std::int64_t length, bool unlimited) {
  if (length < 0) {
    throw InvalidArgument(core::text("[netcdf] a dimension must have a length of 0 or more; got ",
                                     length, " for \"", name,
                                     "\"; try unlimited = true for one that grows"));
  }
  int index = 0;
  tessera_netcdf_error error{};
  check_netcdf(netcdf_functions().define_dimension(handle_.get(), name.c_str(),
                                                   static_cast<std::uint64_t>(length),
                                                   unlimited ? 1 : 0, &index, &error),
               error, kRule, file_.final_path());
  dimensions_[name] = index;
}

void NetcdfWriter::add_variable(const NetcdfVariableSpec& spec) {
  std::vector<int> dimensions;
  for (const std::string& name : spec.dimensions) {
    const auto known = dimensions_.find(name);
    if (known == dimensions_.end()) {
      throw InvalidArgument(core::text("[netcdf] a variable's dimensions must exist; got \"", name,
                                       "\" for \"", spec.name, "\"; try add_dimension first"));
    }
    dimensions.push_back(known->second);
  }
  if (!spec.chunk_shape.empty() && spec.chunk_shape.size() != dimensions.size()) {
    throw InvalidArgument(core::text(
        "[netcdf] chunks must have the variable's rank; got ", to_string(spec.chunk_shape), " for ",
        dimensions.size(), " dimensions of \"", spec.name, "\"; try one extent for each"));
  }
  const auto chunks = to_unsigned(spec.chunk_shape);
  std::vector<std::byte> fill;
  if (spec.fill_value) {
    fill = stored_values(NetcdfAttribute::number("_FillValue", spec.dtype, *spec.fill_value));
  }
  tessera_netcdf_variable_spec request{};
  request.name = spec.name.c_str();
  request.type = netcdf_of_dtype(spec.dtype);
  request.rank = static_cast<int>(dimensions.size());
  request.dimensions = dimensions.data();
  request.chunks = chunks.empty() ? nullptr : chunks.data();
  request.deflate_level = spec.deflate_level;
  request.shuffle = spec.shuffle ? 1 : 0;
  request.fletcher32 = spec.fletcher32 ? 1 : 0;
  request.big_endian = spec.big_endian ? 1 : 0;
  request.fill_value = fill.empty() ? nullptr : fill.data();
  int index = 0;
  tessera_netcdf_error error{};
  check_netcdf(netcdf_functions().define_variable(handle_.get(), &request, &index, &error), error,
               core::text("variable \"", spec.name, "\" must be definable"), file_.final_path());
  variables_[spec.name] = {index, dimensions.size()};
  for (const NetcdfAttribute& attribute : spec.attributes) put_attribute(index, attribute);
}

void NetcdfWriter::add_attribute(const NetcdfAttribute& attribute) { put_attribute(-1, attribute); }

void NetcdfWriter::put_attribute(int variable, const NetcdfAttribute& attribute) {
  tessera_netcdf_error error{};
  int code = 0;
  if (attribute.is_text()) {
    const std::string& value = attribute.as_text();
    code =
        netcdf_functions().put_attribute(handle_.get(), variable, attribute.name.c_str(),
                                         TESSERA_NETCDF_CHAR, value.size(), value.data(), &error);
  } else {
    const auto bytes = stored_values(attribute);
    code = netcdf_functions().put_attribute(handle_.get(), variable, attribute.name.c_str(),
                                            netcdf_of_dtype(*attribute.dtype), attribute.size(),
                                            bytes.data(), &error);
  }
  check_netcdf(code, error, core::text("attribute \"", attribute.name, "\" must be writable"),
               file_.final_path());
}

void NetcdfWriter::write(std::string_view variable, const Shape& start, const Shape& count,
                         const void* in) {
  const auto known = variables_.find(variable);
  if (known == variables_.end() || start.size() != known->second.second ||
      count.size() != known->second.second) {
    throw InvalidArgument(core::text("[netcdf] a region must fit a variable of the file; got \"",
                                     variable, "\" start ", to_string(start), " count ",
                                     to_string(count), "; try add_variable first"));
  }
  tessera_netcdf_error error{};
  if (defining_) {
    check_netcdf(netcdf_functions().end_definitions(handle_.get(), &error), error, kRule,
                 file_.final_path());
    defining_ = false;
  }
  check_netcdf(
      netcdf_functions().write(handle_.get(), known->second.first, to_unsigned(start).data(),
                               to_unsigned(count).data(), in, &error),
      error, core::text("variable \"", variable, "\" must be writable"), file_.final_path());
}

void NetcdfWriter::finish() {
  tessera_netcdf_error error{};
  check_netcdf(netcdf_functions().close(handle_.release(), &error), error, kRule,
               file_.final_path());
  file_.commit();
}

}  // namespace tessera::io
