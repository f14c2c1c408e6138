#include "io/netcdf/netcdf_types.hpp"

#include <cstring>

#include "core/text.hpp"
#include "core/visit_real.hpp"
#include "io/netcdf/netcdf_file.hpp"
#include "io/netcdf/netcdf_module.h"
#include "tessera/error.hpp"

namespace tessera::io {
namespace {

struct TypePair {
  int type;
  DType dtype;
};
constexpr TypePair kTypes[] = {
    {TESSERA_NETCDF_INT8, DType::kInt8},       {TESSERA_NETCDF_INT16, DType::kInt16},
    {TESSERA_NETCDF_INT32, DType::kInt32},     {TESSERA_NETCDF_INT64, DType::kInt64},
    {TESSERA_NETCDF_UINT8, DType::kUInt8},     {TESSERA_NETCDF_UINT16, DType::kUInt16},
    {TESSERA_NETCDF_UINT32, DType::kUInt32},   {TESSERA_NETCDF_UINT64, DType::kUInt64},
    {TESSERA_NETCDF_FLOAT32, DType::kFloat32}, {TESSERA_NETCDF_FLOAT64, DType::kFloat64},
};

}  // namespace

std::optional<DType> dtype_of_netcdf(int type) {
  for (const TypePair& pair : kTypes) {
    if (pair.type == type) return pair.dtype;
  }
  return std::nullopt;
}

int netcdf_of_dtype(DType dtype) {
  for (const TypePair& pair : kTypes) {
    if (pair.dtype == dtype) return pair.type;
  }
  throw InvalidArgument(core::text("[netcdf] a dtype must exist in NetCDF; got ", dtype,
                                   "; try an integer dtype, float32 or float64"));
}

std::string name_of_netcdf_type(int type) {
  if (const auto dtype = dtype_of_netcdf(type)) return std::string(name(*dtype));
  return type == TESSERA_NETCDF_CHAR     ? "char"
         : type == TESSERA_NETCDF_STRING ? "string"
                                         : "user-defined";
}

NetcdfAttribute NetcdfAttribute::text(std::string name, std::string value) {
  return {std::move(name), std::move(value), std::nullopt};
}

NetcdfAttribute NetcdfAttribute::number(std::string name, DType dtype, Scalar value) {
  NetcdfAttribute attribute{std::move(name), {}, dtype};
  netcdf_of_dtype(dtype);
  core::visit_real(dtype, [&]<typename T>(T) {
    if constexpr (std::is_floating_point_v<T>) {
      attribute.value = std::vector<double>{static_cast<double>(value.to<T>())};
    } else if constexpr (std::is_signed_v<T>) {
      attribute.value = std::vector<std::int64_t>{value.to<T>()};
    } else {
      attribute.value = std::vector<std::uint64_t>{value.to<T>()};
    }
  });
  return attribute;
}

std::size_t NetcdfAttribute::size() const noexcept {
  return std::visit(
      []<typename T>(const T& values) -> std::size_t {
        if constexpr (std::is_same_v<T, std::string>) {
          return 0;
        } else {
          return values.size();
        }
      },
      value);
}

Scalar NetcdfAttribute::at(std::size_t i) const {
  return std::visit(
      [&]<typename T>(const T& values) -> Scalar {
        if constexpr (std::is_same_v<T, std::string>) {
          throw InvalidArgument(core::text("[netcdf] attribute ", name,
                                           " must be a number; got the text \"", values,
                                           "\"; try correcting the file"));
        } else {
          return Scalar(values.at(i));
        }
      },
      value);
}

const NetcdfAttribute* NetcdfVariable::find(std::string_view attribute) const noexcept {
  for (const NetcdfAttribute& entry : attributes) {
    if (entry.name == attribute) return &entry;
  }
  return nullptr;
}

std::string NetcdfVariable::text(std::string_view attribute) const {
  const NetcdfAttribute* entry = find(attribute);
  return entry != nullptr && entry->is_text() ? entry->as_text() : std::string();
}

std::vector<double> to_doubles(DType dtype, const void* values, std::size_t count) {
  std::vector<double> doubles(count);
  core::visit_real(dtype, [&]<typename T>(T) {
    const auto* typed = static_cast<const T*>(values);
    for (std::size_t i = 0; i < count; ++i) doubles[i] = static_cast<double>(typed[i]);
  });
  return doubles;
}

}  // namespace tessera::io
