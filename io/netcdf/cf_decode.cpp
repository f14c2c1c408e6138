#include "io/netcdf/cf_decode.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <type_traits>
#include <utility>

#include "core/text.hpp"
#include "core/visit_real.hpp"
#include "io/netcdf/netcdf_types.hpp"
#include "tessera/error.hpp"

namespace tessera::io {
namespace {

DType other_signedness(DType dtype, bool to_unsigned) {
  static constexpr DType kSigned[] = {DType::kInt8, DType::kInt16, DType::kInt32, DType::kInt64};
  static constexpr DType kUnsigned[] = {DType::kUInt8, DType::kUInt16, DType::kUInt32,
                                        DType::kUInt64};
  for (int i = 0; i < 4; ++i) {
    if (to_unsigned && dtype == kSigned[i]) return kUnsigned[i];
    if (!to_unsigned && dtype == kUnsigned[i]) return kSigned[i];
  }
  return dtype;
}

double single_number(const NetcdfVariable& variable, const NetcdfAttribute& attribute) {
  if (attribute.size() != 1) {
    throw IoError(core::text("[netcdf] ", attribute.name, " of a variable must be one number; got ",
                             attribute.is_text() ? "\"" + attribute.as_text() + "\""
                                                 : core::text(attribute.size(), " of them"),
                             " for \"", variable.name, "\" of ", variable.path,
                             "; try correcting the attribute"));
  }
  return attribute.at(0).to<double>();
}

/// `value` in dtype T if T holds it; a fill value given as float64 for a float32 variable is
/// rounded.
template <typename T>
std::optional<T> as_stored(const NetcdfAttribute& attribute, std::size_t i, bool reinterpret) {
  const Scalar value = attribute.at(i);
  if constexpr (std::is_floating_point_v<T>) {
    return value.to<T>();
  } else {
    if (attribute.dtype && is_floating(*attribute.dtype)) {
      const double number = value.to<double>();
      // The bounds are powers of two, hence exact in double; the upper one is excluded.
      const double low = static_cast<double>(std::numeric_limits<T>::min());
      const double high = std::ldexp(1.0, std::numeric_limits<T>::digits);
      if (!(number >= low && number < high) || number != std::floor(number)) return std::nullopt;
      return static_cast<T>(number);
    }
    if (reinterpret) return value.to<T>();
    if (value.kind() == Scalar::Kind::kInt) {
      const auto number = value.to<std::int64_t>();
      return std::in_range<T>(number) ? std::optional<T>(static_cast<T>(number)) : std::nullopt;
    }
    const auto number = value.to<std::uint64_t>();
    return std::in_range<T>(number) ? std::optional<T>(static_cast<T>(number)) : std::nullopt;
  }
}

void add_fill_values(CfDecode& plan, const NetcdfAttribute& attribute, bool reinterpret) {
  core::visit_real(plan.stored, [&]<typename T>(T) {
    for (std::size_t i = 0; i < attribute.size(); ++i) {
      const auto fill = as_stored<T>(attribute, i, reinterpret);
      if (!fill) continue;
      if constexpr (std::is_floating_point_v<T>) {
        if (std::isnan(*fill)) continue;
      }
      bool known = false;
      for (const Scalar& other : plan.fill_values) known = known || other.to<T>() == *fill;
      if (!known) plan.fill_values.emplace_back(*fill);
    }
  });
}

template <typename Stored, typename Decoded>
void decode_typed(const CfDecode& plan, const Stored* in, Decoded* out, std::size_t count) {
  const auto scale = static_cast<Decoded>(plan.scale_factor);
  const auto offset = static_cast<Decoded>(plan.add_offset);
  for (std::size_t i = 0; i < count; ++i) {
    auto value = static_cast<Decoded>(in[i]);
    if (plan.has_scale) value = value * scale;
    if (plan.has_offset) value = value + offset;
    out[i] = value;
  }
  for (const Scalar& fill : plan.fill_values) {
    const auto missing = fill.to<Stored>();
    for (std::size_t i = 0; i < count; ++i) {
      if (in[i] == missing) out[i] = std::numeric_limits<Decoded>::quiet_NaN();
    }
  }
}

template <typename Stored>
Stored encode_value(const CfDecode& plan, double value) {
  if constexpr (std::is_floating_point_v<Stored>) {
    return static_cast<Stored>(value);
  } else {
    const double rounded = std::nearbyint(value);
    const double low = static_cast<double>(std::numeric_limits<Stored>::min());
    const double high = std::ldexp(1.0, std::numeric_limits<Stored>::digits);
    if (!(rounded >= low && rounded < high)) {
      throw InvalidArgument(core::text("[netcdf] packed values must fit ", plan.stored, "; got ",
                                       value, " after scaling; try another scale_factor or dtype"));
    }
    return static_cast<Stored>(rounded);
  }
}

bool same_number(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

}  // namespace

bool CfDecode::operator==(const CfDecode& other) const {
  return stored == other.stored && decoded == other.decoded && fill_values == other.fill_values &&
         has_scale == other.has_scale && has_offset == other.has_offset &&
         same_number(scale_factor, other.scale_factor) && same_number(add_offset, other.add_offset);
}

CfDecode cf_decode_plan(const NetcdfVariable& variable) {
  if (!variable.dtype) {
    throw InvalidArgument(core::text("[netcdf] a variable must hold numbers; got \"", variable.name,
                                     "\", which holds ", variable.type_name,
                                     "; try another variable"));
  }
  CfDecode plan;
  plan.stored = *variable.dtype;
  const std::string is_unsigned = variable.text("_Unsigned");
  if (is_unsigned == "true" || is_unsigned == "True")
    plan.stored = other_signedness(plan.stored, true);
  if (is_unsigned == "false" || is_unsigned == "False")
    plan.stored = other_signedness(plan.stored, false);
  const bool reinterpret = plan.stored != *variable.dtype;
  for (const char* name : {"_FillValue", "missing_value"}) {
    const NetcdfAttribute* attribute = variable.find(name);
    if (attribute != nullptr && !attribute->is_text())
      add_fill_values(plan, *attribute, reinterpret);
  }
  if (const NetcdfAttribute* scale = variable.find("scale_factor")) {
    plan.has_scale = true;
    plan.scale_factor = single_number(variable, *scale);
  }
  if (const NetcdfAttribute* offset = variable.find("add_offset")) {
    plan.has_offset = true;
    plan.add_offset = single_number(variable, *offset);
  }
  plan.decoded = plan.stored;
  if (!plan.is_identity()) {
    const bool exact = plan.stored == DType::kFloat32 ||
                       (is_integer(plan.stored) && itemsize(plan.stored) <= 2 && !plan.has_offset);
    plan.decoded = exact ? DType::kFloat32 : DType::kFloat64;
  }
  return plan;
}

void cf_decode(const CfDecode& plan, const void* in, void* out, std::size_t count) {
  core::visit_real(plan.stored, [&]<typename T>(T) {
    const auto* values = static_cast<const T*>(in);
    if (plan.is_identity()) {
      std::copy(values, values + count, static_cast<T*>(out));
    } else if (plan.decoded == DType::kFloat32) {
      decode_typed(plan, values, static_cast<float*>(out), count);
    } else {
      decode_typed(plan, values, static_cast<double*>(out), count);
    }
  });
}

void cf_encode(const CfDecode& plan, const double* in, void* out, std::size_t count) {
  core::visit_real(plan.stored, [&]<typename T>(T) {
    auto* values = static_cast<T*>(out);
    for (std::size_t i = 0; i < count; ++i) {
      if (std::isnan(in[i]) && !(std::is_floating_point_v<T> && plan.fill_values.empty())) {
        if (plan.fill_values.empty()) {
          throw InvalidArgument(
              core::text("[netcdf] packing NaN needs a fill value; got none for dtype ",
                         plan.stored, "; try setting _FillValue"));
        }
        values[i] = plan.fill_values.front().to<T>();
        continue;
      }
      values[i] = encode_value<T>(plan, (in[i] - plan.add_offset) / plan.scale_factor);
    }
  });
}

}  // namespace tessera::io
