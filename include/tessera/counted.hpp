#pragma once

#include <vector>

#include "tessera/array.hpp"

// Functions whose result has a shape that depends on values. Extents of arrays are always known, so
// these are not lazy: the call itself computes, in the current session (Session::current()), what
// it must know, and blocks as long as that takes. What it returns is lazy again, or rests in that
// session. Work is done block by block and in trees of blocks; no step gathers an array that is
// larger than a block. Every function throws InvalidArgument as said, and what computing its
// arguments throws.

namespace tessera {

/// The elements of x where `mask`, a bool array of x's shape, is true, in C order: NumPy's x[mask].
/// 1-d; its chunks are what the blocks of the flattened x have left, where that is not nothing. The
/// call computes the mask, keeps it in the session for the result's use, and counts it. \throws
/// InvalidArgument for another dtype or shape of the mask.
TESSERA_EXPORT Array masked_select(const Array& x, const Array& mask,
                                   std::source_location where = std::source_location::current());
/// x without the positions along `axis` where `mask`, a 1-d bool array of the axis' extent, is
/// false. Along the axis, the chunks are what x's chunks have left. The call computes the mask as
/// in masked_select(). \throws InvalidArgument for another dtype or shape of the mask.
TESSERA_EXPORT Array compress(const Array& mask, const Array& x, int axis = 0,
                              std::source_location where = std::source_location::current());
/// The positions (int64) of the elements that are not 0, in C order: one 1-d array for each axis.
/// NaN is not 0. The call computes and counts as masked_select() does. \throws InvalidArgument for
/// a 0-d array.
TESSERA_EXPORT std::vector<Array> nonzero(
    const Array& x, std::source_location where = std::source_location::current());
/// take() with positions in a 1-d integer array, which the call computes.
/// \throws InvalidArgument for another dtype or rank, and for a position out of range.
TESSERA_EXPORT Array take(const Array& x, const Array& indices, int axis = 0,
                          std::source_location where = std::source_location::current());

// Distinct elements, by the Array API standard: of the flattened array, 1-d, here always ascending
// with NaN last. Each NaN is distinct from every other one, unlike NumPy's default (equal_nan).
// Zeros of both signs are one value, 0.0 where both occur. The call computes x block by block and
// once more if a block has more than 65,536 distinct elements, and leaves the results in the
// session. They are in one chunk when they fit about one block of x, else in ascending ranges of
// about that length. An inverse is lazy: it reads x again, once for each chunk of the values.

/// The distinct elements.
TESSERA_EXPORT Array unique_values(const Array& x,
                                   std::source_location where = std::source_location::current());

struct UniqueCounts {
  Array values;
  Array counts;  ///< how often each occurs (int64)
};
/// The distinct elements and how often each occurs.
TESSERA_EXPORT UniqueCounts
unique_counts(const Array& x, std::source_location where = std::source_location::current());

struct UniqueInverse {
  Array values;
  Array inverse_indices;  ///< of x's shape: values[inverse_indices] is x (int64)
};
/// The distinct elements and which of them each element of x is.
TESSERA_EXPORT UniqueInverse
unique_inverse(const Array& x, std::source_location where = std::source_location::current());

struct UniqueAll {
  Array values;
  Array indices;          ///< position of the first of each in the flattened x (int64)
  Array inverse_indices;  ///< of x's shape (int64)
  Array counts;           ///< int64
};
/// All of these.
TESSERA_EXPORT UniqueAll unique_all(const Array& x,
                                    std::source_location where = std::source_location::current());

}  // namespace tessera
