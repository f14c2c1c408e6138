#include "io/netcdf/cf_encode.hpp"

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "core/text.hpp"
#include "core/visit_real.hpp"
#include "io/netcdf/netcdf_types.hpp"
#include "tessera/error.hpp"

namespace tessera::io {
namespace {

// Calls f with a value of the dtype that values are packed into.
template <typename F>
void visit_packed(DType dtype, F&& f) {
  core::visit_real(dtype, [&]<typename To>(To value) {
    if constexpr (std::is_integral_v<To> && std::is_signed_v<To> && sizeof(To) <= 4) {
      f(value);
    } else {
      throw InvalidArgument(
          core::text("[save_netcdf] values are packed into int8, int16 or int32; got ", dtype));
    }
  });
}

template <typename From, typename To>
void pack(const NetcdfPacking& packing, const From* in, To* out, std::size_t elements) {
  // Its smallest number is NaN's.
  constexpr double kMost = std::numeric_limits<To>::max();
  for (std::size_t i = 0; i < elements; ++i) {
    const auto value = static_cast<double>(in[i]);
    const double packed = std::rint((value - packing.add_offset) / packing.scale_factor);
    if (std::abs(packed) <= kMost) {
      out[i] = static_cast<To>(packed);
    } else if (std::isnan(value)) {
      out[i] = std::numeric_limits<To>::min();
    } else {
      throw InvalidArgument(core::text("[save_netcdf] packed values must fit their dtype; got ",
                                       value, " with scale_factor ", packing.scale_factor,
                                       " and add_offset ", packing.add_offset, " for ",
                                       packing.dtype, "; try a larger scale_factor"));
    }
  }
}

}  // namespace

Scalar packed_fill(DType dtype) {
  std::int64_t least = 0;
  visit_packed(dtype, [&]<typename To>(To) { least = std::numeric_limits<To>::min(); });
  return Scalar(least);
}

void cf_encode(const NetcdfPacking& packing, DType dtype, const std::byte* in, std::byte* out,
               std::size_t elements) {
  visit_packed(packing.dtype, [&]<typename To>(To) {
    To* to = reinterpret_cast<To*>(out);
    dtype == DType::kFloat32 ? pack(packing, reinterpret_cast<const float*>(in), to, elements)
                             : pack(packing, reinterpret_cast<const double*>(in), to, elements);
  });
}

}  // namespace tessera::io
