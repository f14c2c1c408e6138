#include <algorithm>
#include <numeric>

#include "array/node.hpp"
#include "array/refuse.hpp"
#include "tessera/manipulation.hpp"

namespace tessera {
namespace {

using array::AffineRead;
using array::AxisRead;
using array::refuse;

// A view whose axis i is axis order[i] of x.
Array permuted(const char* name, const Array& x, const std::vector<int>& order,
               const std::source_location& where) {
  AffineRead read(order.size());
  Shape shape(order.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    read[static_cast<std::size_t>(order[i])] = {static_cast<int>(i), 0, 1};
    shape[i] = x.shape()[static_cast<std::size_t>(order[i])];
  }
  return array::make_view(name, x, std::move(read), std::move(shape), where);
}

std::vector<int> checked_order(const char* name, const Array& x, const std::vector<int>& axes) {
  array::normalize_axes(Axes(axes), x.ndim(), name);
  if (axes.size() != x.shape().size()) {
    refuse(name, "axes must name every axis once; got ", array::list_text(axes), " for shape ",
           to_string(x.shape()));
  }
  std::vector<int> order;
  for (const int axis : axes) order.push_back(array::normalize_axis(axis, x.ndim(), name));
  return order;
}

std::vector<int> iota(int count) {
  std::vector<int> out(static_cast<std::size_t>(count));
  std::iota(out.begin(), out.end(), 0);
  return out;
}

// x[.., start : start + count, ..] along one axis.
Array narrowed(const char* name, const Array& x, int axis, std::int64_t start, std::int64_t count,
               const std::source_location& where) {
  AffineRead read = array::identity_read(x.ndim());
  Shape shape = x.shape();
  read[static_cast<std::size_t>(axis)].offset = start;
  shape[static_cast<std::size_t>(axis)] = count;
  return array::make_view(name, x, std::move(read), std::move(shape), where);
}

Array without_axes(const char* name, const Array& x, const std::vector<bool>& dropped,
                   const std::source_location& where) {
  AffineRead read;
  Shape shape;
  for (std::size_t i = 0; i < dropped.size(); ++i) {
    if (dropped[i]) {
      read.push_back({-1, 0, 1});
      continue;
    }
    read.push_back({static_cast<int>(shape.size()), 0, 1});
    shape.push_back(x.shape()[i]);
  }
  return array::make_view(name, x, std::move(read), std::move(shape), where);
}

}  // namespace

Array transpose(const Array& x, const std::optional<std::vector<int>>& axes,
                std::source_location where) {
  std::vector<int> order = axes ? checked_order("transpose", x, *axes) : iota(x.ndim());
  if (!axes) std::reverse(order.begin(), order.end());
  return permuted("transpose", x, order, where);
}

Array permute_dims(const Array& x, const std::vector<int>& axes, std::source_location where) {
  return permuted("permute_dims", x, checked_order("permute_dims", x, axes), where);
}

Array matrix_transpose(const Array& x, std::source_location where) {
  if (x.ndim() < 2) {
    refuse("matrix_transpose", "the array must have at least 2 axes; got shape ",
           to_string(x.shape()), "; try expand_dims");
  }
  std::vector<int> order = iota(x.ndim());
  std::swap(order[order.size() - 1], order[order.size() - 2]);
  return permuted("matrix_transpose", x, order, where);
}

Array swapaxes(const Array& x, int axis1, int axis2, std::source_location where) {
  std::vector<int> order = iota(x.ndim());
  const int a = array::normalize_axis(axis1, x.ndim(), "swapaxes");
  const int b = array::normalize_axis(axis2, x.ndim(), "swapaxes");
  std::swap(order[static_cast<std::size_t>(a)], order[static_cast<std::size_t>(b)]);
  return permuted("swapaxes", x, order, where);
}

Array moveaxis(const Array& x, const Axes& source, const Axes& destination,
               std::source_location where) {
  const std::vector<bool> moved = array::normalize_axes(source, x.ndim(), "moveaxis");
  array::normalize_axes(destination, x.ndim(), "moveaxis");
  if (source.values().size() != destination.values().size()) {
    refuse("moveaxis", "source and destination must have one length; got ",
           array::list_text(source.values()), " and ", array::list_text(destination.values()));
  }
  std::vector<int> order(x.shape().size(), -1);
  for (std::size_t i = 0; i < source.values().size(); ++i) {
    const int to = array::normalize_axis(destination.values()[i], x.ndim(), "moveaxis");
    order[static_cast<std::size_t>(to)] =
        array::normalize_axis(source.values()[i], x.ndim(), "moveaxis");
  }
  std::size_t next = 0;
  for (int axis = 0; axis < x.ndim(); ++axis) {
    if (source.given() && moved[static_cast<std::size_t>(axis)]) continue;
    while (next < order.size() && order[next] >= 0) ++next;
    if (next < order.size()) order[next] = axis;
  }
  return permuted("moveaxis", x, order, where);
}

Array expand_dims(const Array& x, const Axes& axis, std::source_location where) {
  const int rank = x.ndim() + static_cast<int>(axis.values().size());
  const std::vector<bool> added = axis.given()
                                      ? array::normalize_axes(axis, rank, "expand_dims")
                                      : std::vector<bool>(static_cast<std::size_t>(rank), false);
  AffineRead read;
  Shape shape;
  for (int i = 0; i < rank; ++i) {
    if (added[static_cast<std::size_t>(i)]) {
      shape.push_back(1);
      continue;
    }
    shape.push_back(x.shape()[read.size()]);
    read.push_back({i, 0, 1});
  }
  return array::make_view("expand_dims", x, std::move(read), std::move(shape), where);
}

Array squeeze(const Array& x, const Axes& axis, std::source_location where) {
  std::vector<bool> dropped = array::normalize_axes(axis, x.ndim(), "squeeze");
  for (std::size_t i = 0; i < dropped.size(); ++i) {
    if (!axis.given()) dropped[i] = x.shape()[i] == 1;
    if (dropped[i] && x.shape()[i] != 1) {
      refuse("squeeze", "a dropped axis must have extent 1; got axis ", i, " of ",
             to_string(x.shape()), "; try an index or a reduction");
    }
  }
  return without_axes("squeeze", x, dropped, where);
}

Array broadcast_to(const Array& x, const Shape& shape, std::source_location where) {
  bool fits = x.shape().size() <= shape.size();
  AffineRead read;
  for (std::size_t i = 0; i < x.shape().size() && fits; ++i) {
    const std::size_t axis = shape.size() - x.shape().size() + i;
    const bool same = x.shape()[i] == shape[axis];
    fits = same || x.shape()[i] == 1;
    read.push_back(same ? AxisRead{static_cast<int>(axis), 0, 1} : AxisRead{-1, 0, 1});
  }
  if (!fits) {
    refuse("broadcast_to", "the shape must broadcast to the wanted one; got ", to_string(x.shape()),
           " and ", to_string(shape), "; try reshape or expand_dims");
  }
  return array::make_view("broadcast_to", x, std::move(read), shape, where);
}

std::vector<Array> broadcast_arrays(const std::vector<Array>& arrays, std::source_location where) {
  Shape shape;
  for (const Array& x : arrays) shape = broadcast_shapes(shape, x.shape(), "broadcast_arrays");
  std::vector<Array> out;
  for (const Array& x : arrays) out.push_back(broadcast_to(x, shape, where));
  return out;
}

Array flip(const Array& x, const Axes& axis, std::source_location where) {
  const std::vector<bool> flipped = array::normalize_axes(axis, x.ndim(), "flip");
  AffineRead read = array::identity_read(x.ndim());
  for (std::size_t i = 0; i < flipped.size(); ++i) {
    if (flipped[i] && x.shape()[i] > 0) {
      read[i] = {static_cast<int>(i), x.shape()[i] - 1, -1};
    }
  }
  return array::make_view("flip", x, std::move(read), x.shape(), where);
}

std::vector<Array> unstack(const Array& x, int axis, std::source_location where) {
  const int at = array::normalize_axis(axis, x.ndim(), "unstack");
  std::vector<bool> dropped(x.shape().size(), false);
  dropped[static_cast<std::size_t>(at)] = true;
  std::vector<Array> out;
  for (std::int64_t i = 0; i < x.shape()[static_cast<std::size_t>(at)]; ++i) {
    out.push_back(without_axes("unstack", narrowed("unstack", x, at, i, 1, where), dropped, where));
  }
  return out;
}

std::vector<Array> split(const Array& x, std::int64_t sections, int axis,
                         std::source_location where) {
  const int at = array::normalize_axis(axis, x.ndim(), "split");
  const std::int64_t extent = x.shape()[static_cast<std::size_t>(at)];
  if (sections < 1 || extent % sections != 0) {
    refuse("split", "sections must divide the axis; got ", sections, " for axis ", at, " of ",
           to_string(x.shape()), "; try split positions");
  }
  std::vector<Array> out;
  const std::int64_t part = extent / sections;
  for (std::int64_t i = 0; i < sections; ++i) {
    out.push_back(narrowed("split", x, at, i * part, part, where));
  }
  return out;
}

std::vector<Array> split(const Array& x, const std::vector<std::int64_t>& positions, int axis,
                         std::source_location where) {
  const int at = array::normalize_axis(axis, x.ndim(), "split");
  const std::int64_t extent = x.shape()[static_cast<std::size_t>(at)];
  std::vector<Array> out;
  std::int64_t start = 0;
  for (std::size_t i = 0; i <= positions.size(); ++i) {
    const std::int64_t end = i < positions.size() ? positions[i] : extent;
    if (end < start || end > extent) {
      refuse("split", "positions must ascend within the axis; got ", array::list_text(positions),
             " for axis ", at, " of ", to_string(x.shape()));
    }
    out.push_back(narrowed("split", x, at, start, end - start, where));
    start = end;
  }
  return out;
}

}  // namespace tessera
