#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/block_view.hpp"

// Searches in sorted elements and the distinct elements of a block. Order and equality are those of
// sort(): NaN last, complex numbers by real and then imaginary part, -0.0 equal to 0.0; NaN equals
// nothing. Elements lie one after the other.

namespace tessera::kernels::host {

/// How many of the sorted `table` come before each of `count` elements of the same dtype, or with
/// `right` do not come after it.
void search_sorted(DType dtype, const std::byte* table, std::int64_t table_size,
                   const std::byte* in, std::int64_t count, bool right, std::int64_t* out);
/// Whether each of `count` elements equals one of the sorted `table`.
void find_members(DType dtype, const std::byte* table, std::int64_t table_size, const std::byte* in,
                  std::int64_t count, bool* out);

/// What distinct() reads and writes. Outputs have `room` places; counts and first may be null.
struct DistinctArgs {
  DType dtype = DType::kFloat64;
  const std::byte* in = nullptr;
  std::int64_t size = 0;
  const std::int64_t* in_counts = nullptr;  ///< null: each element counts once
  const std::int64_t* in_first = nullptr;   ///< needed where `first` is
  std::int64_t room = 0;
  std::byte* values = nullptr;
  std::int64_t* counts = nullptr;
  std::int64_t* first = nullptr;
};
/// Bytes of scratch for `size` elements.
std::size_t distinct_scratch_bytes(DType dtype, std::int64_t size, bool with_positions);
/// Writes the distinct elements that are not NaN, ascending, as many as there is room for, and
/// zeros behind them; returns how many there are. What it writes does not depend on the order of
/// the elements: of equal ones with different bits (zeros), the one with fewer signs is kept.
std::int64_t distinct(const DistinctArgs& args, std::span<std::byte> scratch);

}  // namespace tessera::kernels::host
