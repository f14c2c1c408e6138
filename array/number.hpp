#pragma once

#include <string_view>

#include "tessera/scalar.hpp"

namespace tessera::array {

/// Whether an array of `dtype` can hold the number as what it is: integers and whole reals within
/// the range of an integer dtype, real numbers in a floating one (rounded). Of bool, all can: they
/// become truth values.
bool fits(const Scalar& number, DType dtype);

/// \throws InvalidArgument naming `where` unless the number fits.
void check_fits(std::string_view where, const Scalar& number, DType dtype);

/// \throws InvalidArgument naming `where` for dtypes that are only stored.
void check_arithmetic(std::string_view where, DType dtype);

}  // namespace tessera::array
