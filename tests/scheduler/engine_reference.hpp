#pragma once

#include <complex>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tessera/array.hpp"

// An eager n-d array for checking the engine: one number type wide enough for every dtype, no
// chunks, no fusion, one loop over an odometer for every operation. It shares no code with the
// engine but the dtype's numbers.

namespace tessera::testing {

using Number = std::complex<long double>;
using Place = std::vector<std::int64_t>;

/// A dense array of numbers, with what is known about how exactly the engine can compute them.
struct Reference {
  Shape shape;
  DType dtype = DType::kFloat64;
  std::vector<Number> values;
  bool exact =
      true;  ///< every number, and all that led to it, has so few bits that nothing was rounded
  long double scale = 1;  ///< bounds the magnitudes that led to the values, for absolute tolerances
  long double eps = 0;    ///< coarsest precision on the way

  const Number& at(const Place& place) const;
};

/// The array whose element at each place `value` gives; exact, scale and eps follow from the inputs
/// and the values.
Reference build(const Shape& shape, DType dtype, const std::vector<const Reference*>& inputs,
                const std::function<Number(const Place&)>& value);
/// The place of the element that a broadcast array has at `place`.
Place broadcast_place(const Place& place, const Shape& from);
/// The shape that both broadcast to; nullopt where they do not.
std::optional<Shape> broadcast(const Shape& a, const Shape& b);
/// The elements along the axes that are reduced, in C order, for each place of the others.
std::vector<Number> fibre(const Reference& x, const std::vector<bool>& axes, const Place& place);
/// x reduced over axes by `reduce`; kept axes as extent 1 if `keepdims`.
Reference reduced(const Reference& x, const std::vector<bool>& axes, bool keepdims, DType dtype,
                  const std::function<Number(const std::vector<Number>&)>& reduce);
/// Calls `visit` with every place of `shape` in C order.
void for_each_place(const Shape& shape, const std::function<void(const Place&)>& visit);

/// Whether a number is NaN in a part.
bool is_nan(const Number& x);
/// Whether it is an infinity or NaN in a part.
bool is_wild(const Number& x);
/// NumPy's order, NaN last.
bool before(const Number& a, const Number& b);

/// The first difference between a result and the reference, or "" when there is none.
std::string difference(const HostArray& result, const Reference& reference);
/// A lazy array of the reference's values, cut into `chunks`.
Array to_array(const Reference& reference, const Chunks& chunks);

}  // namespace tessera::testing
