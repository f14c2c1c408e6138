#include "tessera/creation.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "array/existing_memory.hpp"
#include "array/node.hpp"
#include "array/number.hpp"
#include "array/refuse.hpp"
#include "core/array_limits.hpp"
#include "tessera/elementwise.hpp"
#include "tessera/manipulation.hpp"

namespace tessera {
namespace {

using array::refuse;

Array filled(const char* name, const Shape& shape, const Scalar& value, const Chunks& chunks,
             DType dtype, const std::source_location& where) {
  array::check_fits(name, value, dtype);
  return array::make_array(name, array::Constant{value}, {}, dtype,
                           chunks.resolve(shape, dtype, name), where);
}

Array filled_like(const char* name, const Array& x, const Scalar& value, const LikeOptions& options,
                  const std::source_location& where) {
  return filled(name, x.shape(), value, options.chunks.value_or(Chunks(x.chunks())),
                options.dtype.value_or(x.dtype()), where);
}

bool is_whole(const Scalar& x) {
  return x.kind() == Scalar::Kind::kInt || x.kind() == Scalar::Kind::kUInt ||
         x.kind() == Scalar::Kind::kBool;
}

__int128 exact(const Scalar& x) {
  return x.kind() == Scalar::Kind::kUInt ? static_cast<__int128>(x.to<std::uint64_t>())
                                         : static_cast<__int128>(x.to<std::int64_t>());
}

[[noreturn]] void refuse_length(const Scalar& start, const Scalar& stop, const Scalar& step) {
  refuse("arange", "the length must be a number that fits 63 bits; got start ", start.to_string(),
         ", stop ", stop.to_string(), ", step ", step.to_string());
}

// Exact, although stop - start may not fit 64 bits.
std::int64_t whole_count(const Scalar& start, const Scalar& stop, const Scalar& step) {
  const __int128 by = exact(step);
  const __int128 span = exact(stop) - exact(start);
  if (span == 0 || (span > 0) != (by > 0)) return 0;
  const __int128 count = (span + (by > 0 ? by - 1 : by + 1)) / by;
  if (count > INT64_MAX) refuse_length(start, stop, step);
  return static_cast<std::int64_t>(count);
}

std::int64_t real_count(const Scalar& start, const Scalar& stop, const Scalar& step) {
  const double count = std::ceil((stop.to<double>() - start.to<double>()) / step.to<double>());
  if (!(count < 9.2e18)) refuse_length(start, stop, step);
  return std::max<std::int64_t>(0, static_cast<std::int64_t>(count));
}

// The largest and the smallest element of a range of integers, beside each other.
struct Ends {
  __int128 low = 0;
  __int128 high = 0;
};
Ends ends_of(const Scalar& start, const Scalar& step, std::int64_t count) {
  if (count == 0) return {};
  const __int128 first = exact(start);
  const __int128 last = first + exact(step) * (count - 1);
  return {std::min(first, last), std::max(first, last)};
}

bool holds(DType dtype, const Ends& ends) {
  const auto one = [&](__int128 x) {
    if (x < INT64_MIN || x > __int128{UINT64_MAX}) return false;
    return x < 0 ? array::fits(static_cast<std::int64_t>(x), dtype)
                 : array::fits(static_cast<std::uint64_t>(x), dtype);
  };
  return one(ends.low) && one(ends.high);
}

// Row and column numbers as arrays that broadcast against a matrix with the chunks of `grid`'s last
// axes.
struct Indices {
  Array row;
  Array column;
};
Indices indices(const ChunkGrid& grid, std::int64_t k, const std::source_location& where) {
  const auto range = [&](int axis, std::int64_t start) {
    const AxisChunks& cut = grid.axis(axis);
    return array::make_array("arange", array::Arange{start, 1, std::nullopt}, {}, DType::kInt64,
                             ChunkGrid({cut}), where);
  };
  // Beyond the corners all diagonals are alike, and row + k has no int64 at some.
  k = std::clamp(k, -grid.axis(grid.rank() - 2).extent(), grid.axis(grid.rank() - 1).extent());
  const Array rows = range(grid.rank() - 2, k);
  return {expand_dims(rows, {1}, where), range(grid.rank() - 1, 0)};
}

[[noreturn]] void refuse_null(const char* name, const Shape& shape, DType dtype) {
  refuse(name, "the memory must exist; got a null pointer for shape ", to_string(shape), " of ",
         dtype);
}

// The elements before and after the first one lie within the bytes that a pointer can reach.
void check_reach(const char* name, const std::vector<std::int64_t>& strides, const Shape& shape,
                 DType dtype) {
  __int128 before = 0;
  __int128 after = 1;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const __int128 reach = static_cast<__int128>(shape[i] - 1) * strides[i];
    (reach < 0 ? before : after) += reach < 0 ? -reach : reach;
  }
  const __int128 most = INT64_MAX / static_cast<std::int64_t>(itemsize(dtype));
  if (before > most || after > most) {
    refuse(name, "strides must stay within 63 bits of bytes; got strides ",
           array::list_text(strides), " for shape ", to_string(shape), " of ", dtype);
  }
}

void check_matrix(const char* name, const Array& x) {
  if (x.ndim() < 2) {
    refuse(name, "the array must have at least 2 axes; got shape ", to_string(x.shape()),
           "; try reshape or expand_dims");
  }
}

}  // namespace

Array zeros(const Shape& shape, const CreateOptions& options, std::source_location where) {
  return filled("zeros", shape, 0, options.chunks, options.dtype, where);
}

Array ones(const Shape& shape, const CreateOptions& options, std::source_location where) {
  return filled("ones", shape, 1, options.chunks, options.dtype, where);
}

Array empty(const Shape& shape, const CreateOptions& options, std::source_location where) {
  return filled("empty", shape, 0, options.chunks, options.dtype, where);
}

Array full(const Shape& shape, const Scalar& value, const LikeOptions& options,
           std::source_location where) {
  return filled("full", shape, value, options.chunks.value_or(Chunks()),
                options.dtype.value_or(value.default_dtype()), where);
}

Array zeros_like(const Array& x, const LikeOptions& options, std::source_location where) {
  return filled_like("zeros_like", x, 0, options, where);
}

Array ones_like(const Array& x, const LikeOptions& options, std::source_location where) {
  return filled_like("ones_like", x, 1, options, where);
}

Array empty_like(const Array& x, const LikeOptions& options, std::source_location where) {
  return filled_like("empty_like", x, 0, options, where);
}

Array full_like(const Array& x, const Scalar& value, const LikeOptions& options,
                std::source_location where) {
  return filled_like("full_like", x, value, options, where);
}

Array arange(const Scalar& stop, const RangeOptions& options, std::source_location where) {
  return arange(0, stop, 1, options, where);
}

Array arange(const Scalar& start, const Scalar& stop, const RangeOptions& options,
             std::source_location where) {
  return arange(start, stop, 1, options, where);
}

Array arange(const Scalar& start, const Scalar& stop, const Scalar& step,
             const RangeOptions& options, std::source_location where) {
  const bool whole = is_whole(start) && is_whole(stop) && is_whole(step);
  for (const Scalar* x : {&start, &stop, &step}) {
    if (x->kind() == Scalar::Kind::kComplex) {
      refuse("arange", "bounds and step must be real; got ", x->to_string());
    }
  }
  if (step.to<double>() == 0.0) {
    refuse("arange", "step must not be 0; got start ", start.to_string(), ", stop ",
           stop.to_string());
  }
  const std::int64_t count = whole ? whole_count(start, stop, step) : real_count(start, stop, step);
  const Ends ends = whole ? ends_of(start, step, count) : Ends{};
  const DType fitting = !whole                       ? DType::kFloat64
                        : holds(DType::kInt64, ends) ? DType::kInt64
                                                     : DType::kUInt64;
  const DType dtype = options.dtype.value_or(fitting);
  if (dtype == DType::kBool || is_complex(dtype) || (!is_floating(dtype) && !whole) ||
      (is_integer(dtype) && !holds(dtype, ends))) {
    refuse("arange", "the dtype must hold every element; got ", dtype, " for start ",
           start.to_string(), ", step ", step.to_string(), "; try astype of the result");
  }
  return array::make_array("arange", array::Arange{start, step, std::nullopt}, {}, dtype,
                           options.chunks.resolve({count}, dtype, "arange"), where);
}

Array linspace(const Scalar& start, const Scalar& stop, std::int64_t count,
               const LinspaceOptions& options, std::source_location where) {
  if (count < 0) refuse("linspace", "the count must not be negative; got ", count);
  if (start.kind() == Scalar::Kind::kComplex || stop.kind() == Scalar::Kind::kComplex) {
    refuse("linspace", "bounds must be real; got ", start.to_string(), " and ", stop.to_string());
  }
  if (!is_floating(options.dtype)) {
    refuse("linspace", "the dtype must be floating-point; got ", options.dtype,
           "; try astype of the result");
  }
  const double first = start.to<double>();
  const double last = stop.to<double>();
  if (std::isfinite(first) && std::isfinite(last) && !std::isfinite(last - first)) {
    refuse("linspace", "the distance between the bounds must be finite; got ", start.to_string(),
           " and ", stop.to_string(), "; try a multiple of a narrower range");
  }
  const std::int64_t steps = options.endpoint ? count - 1 : count;
  array::Arange range{first, steps > 0 ? (last - first) / static_cast<double>(steps) : 0.0,
                      std::nullopt};
  if (options.endpoint && count > 1) range.last = Scalar(last);
  return array::make_array("linspace", range, {}, options.dtype,
                           options.chunks.resolve({count}, options.dtype, "linspace"), where);
}

Array eye(std::int64_t rows, const EyeOptions& options, std::source_location where) {
  return eye(rows, rows, options, where);
}

Array eye(std::int64_t rows, std::int64_t columns, const EyeOptions& options,
          std::source_location where) {
  return array::make_array("eye", array::Eye{options.k}, {}, options.dtype,
                           options.chunks.resolve({rows, columns}, options.dtype, "eye"), where);
}

Array tri(std::int64_t rows, std::int64_t columns, const EyeOptions& options,
          std::source_location where) {
  const ChunkGrid grid = options.chunks.resolve({rows, columns}, options.dtype, "tri");
  const Indices at = indices(grid, options.k, where);
  return array::cast(greater_equal(Operand(at.row, where), Operand(at.column, where)),
                     options.dtype, where);
}

Array tril(const Array& x, std::int64_t k, std::source_location where) {
  check_matrix("tril", x);
  const Indices at = indices(x.chunks(), k, where);
  const Array keep = greater_equal(Operand(at.row, where), Operand(at.column, where));
  return tessera::where(Operand(keep, where), Operand(x, where), Operand(false, where));
}

Array triu(const Array& x, std::int64_t k, std::source_location where) {
  check_matrix("triu", x);
  const Indices at = indices(x.chunks(), k, where);
  const Array keep = less_equal(Operand(at.row, where), Operand(at.column, where));
  return tessera::where(Operand(keep, where), Operand(x, where), Operand(false, where));
}

Array diag(const Array& x, std::int64_t k, std::source_location where) {
  if (x.ndim() == 2) {
    return array::in_name_of("diag", [&] { return diagonal(x, {.offset = k}, where); });
  }
  if (x.ndim() != 1) {
    refuse("diag", "the array must have 1 or 2 axes; got shape ", to_string(x.shape()),
           "; try diagonal()");
  }
  // Row i of the result reads x[i] where the diagonal lies above the main one, column j reads x[j]
  // where it lies below; the rows or columns that it does not reach are padding.
  const std::int64_t shift = std::abs(std::max(k, -INT64_MAX));
  const std::int64_t extent = core::checked_extent("diag", x.size(), shift);
  core::array_bytes("diag", {extent, extent}, x.dtype());
  const PadWidths after{{0, shift}};
  const Array line = pad(x, after, {}, where);
  const AxisChunks& cut = line.chunks().axis(0);
  const Array mask =
      array::make_array("eye", array::Eye{k}, {}, DType::kBool, ChunkGrid({cut, cut}), where);
  const Array values = k >= 0 ? expand_dims(line, {1}, where) : line;
  return tessera::where(Operand(mask, where), Operand(values, where), Operand(false, where));
}

std::vector<Array> meshgrid(const std::vector<Array>& arrays, std::string_view indexing,
                            std::source_location where) {
  if (indexing != "xy" && indexing != "ij") {
    refuse("meshgrid", "indexing must be \"xy\" or \"ij\"; got \"", indexing, "\"");
  }
  const auto place = [&](std::size_t i) {
    return indexing == "xy" && arrays.size() > 1 && i < 2 ? 1 - i : i;
  };
  Shape shape(arrays.size());
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    if (arrays[i].ndim() > 1) {
      refuse("meshgrid", "arrays must have at most 1 axis; got shape ",
             to_string(arrays[i].shape()), "; try ravel()");
    }
    shape[place(i)] = arrays[i].size();
  }
  std::vector<Array> out;
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    array::AffineRead read;
    if (arrays[i].ndim() == 1) read.push_back({static_cast<int>(place(i)), 0, 1});
    out.push_back(array::make_view("meshgrid", arrays[i], std::move(read), shape, where));
  }
  return out;
}

Array array::existing_memory(const char* name, const void* data, DType dtype, const Shape& shape,
                             const MemoryOptions& options, std::shared_ptr<const CudaMemory> cuda,
                             const std::source_location& where) {
  ChunkGrid grid = options.chunks.resolve(shape, dtype, name);
  std::vector<std::int64_t> strides = HostArray(shape, dtype, nullptr).strides();
  if (options.strides) strides = *options.strides;
  if (strides.size() != shape.size()) {
    refuse(name, "there must be one stride for each axis; got ", strides.size(), " for shape ",
           to_string(shape));
  }
  const bool holds_elements = element_count(shape) != 0;
  if (data == nullptr && holds_elements) refuse_null(name, shape, dtype);
  if (holds_elements) check_reach(name, strides, shape, dtype);
  std::shared_ptr<const std::byte> memory(options.owner, static_cast<const std::byte*>(data));
  ExistingMemory attributes{std::move(memory), std::move(strides), std::move(cuda)};
  return make_array(name, std::move(attributes), {}, dtype, std::move(grid), where);
}

Array from_memory(const void* data, DType dtype, const Shape& shape, const MemoryOptions& options,
                  std::source_location where) {
  return array::existing_memory("from_memory", data, dtype, shape, options, nullptr, where);
}

Array copy_memory(const void* data, DType dtype, const Shape& shape, const AsarrayOptions& options,
                  std::source_location where) {
  core::array_bytes("copy_memory", shape, dtype);
  const auto bytes = static_cast<std::size_t>(element_count(shape)) * itemsize(dtype);
  if (data == nullptr && bytes != 0) refuse_null("copy_memory", shape, dtype);
  const std::shared_ptr<std::byte[]> copy = std::make_shared<std::byte[]>(bytes);
  if (bytes != 0) std::memcpy(copy.get(), data, bytes);
  const Array out =
      from_memory(copy.get(), dtype, shape, {.chunks = options.chunks, .owner = copy}, where);
  return options.dtype ? astype(out, *options.dtype, where) : out;
}

Array asarray(const Scalar& value, const AsarrayOptions& options, std::source_location where) {
  return filled("asarray", {}, value, options.chunks, options.dtype.value_or(value.default_dtype()),
                where);
}

Array asarray(const HostArray& values, const AsarrayOptions& options, std::source_location where) {
  const std::shared_ptr<std::byte> data(std::make_shared<HostArray>(values), values.data());
  const Array out = from_memory(data.get(), values.dtype(), values.shape(),
                                {.chunks = options.chunks, .owner = data}, where);
  return options.dtype ? astype(out, *options.dtype, where) : out;
}

}  // namespace tessera
