#pragma once

#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <memory>
#include <optional>
#include <source_location>
#include <span>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include "tessera/chunk_grid.hpp"
#include "tessera/dtype.hpp"
#include "tessera/error.hpp"
#include "tessera/scalar.hpp"

namespace tessera {

namespace array {
struct Node;
}

/// start:stop:step along one axis, as in Python: negative bounds count from the end, missing ones mean the
/// whole axis in the direction of `step`.
struct Slice {
  std::optional<std::int64_t> start = std::nullopt;
  std::optional<std::int64_t> stop = std::nullopt;
  std::int64_t step = 1;
};
/// A new axis of extent 1 at this place of an index.
struct NewAxis {};
/// As many whole axes as are left, at this place of an index.
struct Ellipsis {};
inline constexpr NewAxis newaxis{};
inline constexpr Ellipsis ellipsis{};

/// One entry of an index: a number (drops the axis), a Slice, `newaxis` or `ellipsis`.
class Index {
 public:
  template <typename T>
    requires(std::is_integral_v<T>)
  Index(T position) : value_(static_cast<std::int64_t>(position)) {}
  Index(Slice slice) : value_(slice) {}
  Index(NewAxis) : value_(NewAxis{}) {}
  Index(Ellipsis) : value_(Ellipsis{}) {}
  const std::variant<std::int64_t, Slice, NewAxis, Ellipsis>& value() const noexcept { return value_; }

 private:
  std::variant<std::int64_t, Slice, NewAxis, Ellipsis> value_;
};

/// The index in x[{...}]. Remembers the source line of the call, which errors name later.
struct IndexList {
  IndexList(std::initializer_list<Index> index,
            std::source_location called_at = std::source_location::current())
      : entries(index), where(called_at) {}
  std::vector<Index> entries;
  std::source_location where;
};

/// A computed result in host memory: dense, C order. Copies share the memory.
class TESSERA_EXPORT HostArray {
 public:
  HostArray(Shape shape, DType dtype, std::shared_ptr<std::byte> data)
      : shape_(std::move(shape)), dtype_(dtype), data_(std::move(data)) {}

  const Shape& shape() const noexcept { return shape_; }
  DType dtype() const noexcept { return dtype_; }
  std::int64_t size() const { return element_count(shape_); }
  /// Elements to step along each axis.
  std::vector<std::int64_t> strides() const;
  std::byte* data() const noexcept { return data_.get(); }
  std::size_t nbytes() const { return static_cast<std::size_t>(size()) * itemsize(dtype_); }
  /// The elements in C order; valid while a copy of this object lives.
  /// \throws InvalidArgument when T is not the array's dtype.
  template <Element T>
  std::span<T> span() const {
    check_dtype(dtype_of<T>);
    return {reinterpret_cast<T*>(data_.get()), static_cast<std::size_t>(size())};
  }
  /// The one element of an array of size 1, converted to T. \throws InvalidArgument for other sizes.
  template <Element T>
  T item() const {
    return scalar_item().to<T>();
  }

 private:
  void check_dtype(DType wanted) const;
  Scalar scalar_item() const;
  Shape shape_;
  DType dtype_;
  std::shared_ptr<std::byte> data_;
};

/// A lazy n-d chunked array: a handle to one output of a node of the expression graph. Cheap to copy, holds
/// no device memory itself; nothing runs until a result is asked for (compute, persist, item, save).
/// Thread safety: const operations may be called from any thread.
class TESSERA_EXPORT Array {
 public:
  const Shape& shape() const noexcept;
  DType dtype() const noexcept;
  /// How the array is cut into blocks.
  const ChunkGrid& chunks() const noexcept;
  int ndim() const noexcept { return static_cast<int>(shape().size()); }
  std::int64_t size() const noexcept;
  std::size_t nbytes() const noexcept;
  /// Axes reversed.
  Array T(std::source_location where = std::source_location::current()) const;
  /// NumPy basic indexing: numbers, slices with any step, newaxis and ellipsis. A view: nothing is copied.
  /// \throws InvalidArgument for too many indices, a number out of range or a step of 0.
  Array operator[](const IndexList& index) const;
  /// The same with a list built at run time.
  Array at(const std::vector<Index>& index, std::source_location where = std::source_location::current()) const;

  /// Computes the array and returns it in host memory.
  /// \throws Error what the computation threw, with operation, block, device and source line.
  HostArray compute() const;
  /// Alias of compute(), for a result that is to be read on the host.
  HostArray to_host() const { return compute(); }
  /// Computes the array and returns it as a new array whose blocks stay in the session (device memory,
  /// spilled when it runs short) until the last handle goes.
  Array persist() const;
  /// The one element of an array of size 1, converted to T.
  template <Element T>
  T item() const {
    check_single();
    return compute().item<T>();
  }
  /// The plan that compute() would run: nodes, tasks, bytes, placement.
  std::string explain() const;

  // For the library's own use. A template, so that {0, 1} is a list of numbers and never an array.
  template <typename Pointer>
    requires(std::is_same_v<Pointer, std::shared_ptr<const array::Node>>)
  Array(Pointer node, int output) : node_(std::move(node)), output_(output) {}
  const std::shared_ptr<const array::Node>& node() const noexcept { return node_; }
  int output() const noexcept { return output_; }

 private:
  void check_single() const;
  std::shared_ptr<const array::Node> node_;
  int output_ = 0;
};

/// Shape, dtype, chunk grid, bytes and tasks; computes nothing.
TESSERA_EXPORT std::ostream& operator<<(std::ostream& out, const Array& array);

/// An argument of an operation: an array, or a C++ number that takes its dtype from the arrays beside it.
/// Remembers the source line of the call, which errors name later.
class TESSERA_EXPORT Operand {
 public:
  Operand(const Array& array, std::source_location where = std::source_location::current())
      : value_(array), where_(where) {}
  template <typename T>
    requires(std::is_arithmetic_v<T>)
  Operand(T value, std::source_location where = std::source_location::current())
      : value_(Scalar(value)), where_(where) {}
  template <typename T>
  Operand(std::complex<T> value, std::source_location where = std::source_location::current())
      : value_(Scalar(value)), where_(where) {}
  Operand(Scalar value, std::source_location where = std::source_location::current())
      : value_(value), where_(where) {}

  bool is_scalar() const noexcept { return std::holds_alternative<Scalar>(value_); }
  const Scalar& scalar() const { return std::get<Scalar>(value_); }
  /// The array; a number alone becomes a 0-d array of its default dtype.
  Array array() const;
  const std::source_location& where() const noexcept { return where_; }

 private:
  std::variant<Array, Scalar> value_;
  std::source_location where_;
};

/// Axes of an operation: none given means all of them (or the operation's own default).
class Axes {
 public:
  Axes() = default;
  Axes(int axis) : given_(true), axes_{axis} {}
  Axes(std::initializer_list<int> axes) : given_(true), axes_(axes) {}
  Axes(std::vector<int> axes) : given_(true), axes_(std::move(axes)) {}
  bool given() const noexcept { return given_; }
  const std::vector<int>& values() const noexcept { return axes_; }

 private:
  bool given_ = false;
  std::vector<int> axes_;
};

}  // namespace tessera
