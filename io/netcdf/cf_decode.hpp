#pragma once

#include <cstddef>
#include <vector>

#include "io/netcdf/netcdf_file.hpp"
#include "tessera/dtype.hpp"
#include "tessera/scalar.hpp"

// The CF conventions' packing: which stored values are missing, and scale and offset. Pure; no
// file.

namespace tessera::io {

/// How stored values become decoded ones:
/// missing where the value equals a fill value, else `value * scale_factor + add_offset`, computed
/// in `decoded` as a product and a sum (no fma), each rounded.
struct CfDecode {
  /// The dtype of the values in the file, after `_Unsigned` (which changes the sign and no bit).
  DType stored = DType::kFloat64;
  /// stored itself when there is nothing to decode; else, as xarray chooses: float32 for integers
  /// of at most 16 bits without an offset and for float32, otherwise float64.
  DType decoded = DType::kFloat64;
  /// Values of dtype `stored` that mean "missing" and become NaN; NaN itself is not listed.
  std::vector<Scalar> fill_values;
  bool has_scale = false;
  bool has_offset = false;
  double scale_factor = 1.0;
  double add_offset = 0.0;

  /// Whether decoding changes nothing.
  bool is_identity() const noexcept { return fill_values.empty() && !has_scale && !has_offset; }
  /// Whether both decode alike; a scale of NaN is like another one.
  bool operator==(const CfDecode& other) const;
};

/// The plan for a variable from `_FillValue`, `missing_value`, `scale_factor`, `add_offset`,
/// `_Unsigned`. A fill value that the stored dtype cannot hold never occurs and is left out.
/// \throws InvalidArgument when the variable holds no numbers. \throws IoError naming the file when
/// an attribute is no single number.
CfDecode cf_decode_plan(const NetcdfVariable& variable);

/// Decodes `count` values; `out` holds values of `plan.decoded` and may not overlap `in`.
void cf_decode(const CfDecode& plan, const void* in, void* out, std::size_t count);

/// The inverse: NaN becomes the first fill value, others are scaled back and rounded to the nearest
/// integer. \throws InvalidArgument when a value does not fit the stored dtype or NaN has no fill
/// value.
void cf_encode(const CfDecode& plan, const double* in, void* out, std::size_t count);

}  // namespace tessera::io
