#pragma once

#include <cstdint>
#include <span>

#include "kernels/block_view.hpp"

// Counts of a block's elements in bins. Owns which bin an element falls into, which is what NumPy's
// histogram does for the same edges: bins are half open but for the last one, elements outside and
// NaN are left out, and integers are compared as float64.

namespace tessera::kernels::host {

/// Writes how many elements of `in` fall into each bin [edges[i], edges[i + 1]), or the sum of
/// their weights. `counts` is a dense 1-d view of edges.size() - 1 elements: int64, or float64 with
/// weights. `weights`, if not null, is float64 of the shape of `in` and summed in C order, each bin
/// on its own. Evenly spaced edges are found out and make the search an arithmetic one with the
/// same result. \throws InvalidArgument for edges that are not increasing or fewer than two,
/// complex elements, and weights or counts of another shape or dtype.
void histogram(ConstBlockView in, std::span<const double> edges, const ConstBlockView* weights,
               BlockView counts);

}  // namespace tessera::kernels::host
