#include "tessera/array.hpp"

#include <algorithm>

#include "array/node.hpp"
#include "array/refuse.hpp"

namespace tessera {
namespace {

template <Element T>
Scalar read_scalar(const std::byte* data) {
  return Scalar(*reinterpret_cast<const T*>(data));
}

}  // namespace

std::vector<std::int64_t> HostArray::strides() const {
  std::vector<std::int64_t> out(shape_.size(), 1);
  for (std::size_t i = shape_.size(); i-- > 1;) out[i - 1] = out[i] * shape_[i];
  return out;
}

void HostArray::check_dtype(DType wanted) const {
  if (wanted != dtype_) {
    array::refuse("HostArray", "the element type must be the array's dtype; got ", wanted,
                  " for an array of ", dtype_, "; try astype before compute()");
  }
}

Scalar HostArray::scalar_item() const {
  if (size() != 1) {
    array::refuse("item", "the array must have one element; got shape ", to_string(shape_),
                  "; try span() or an index");
  }
  switch (dtype_) {
    case DType::kBool:
      return read_scalar<bool>(data());
    case DType::kInt8:
      return read_scalar<std::int8_t>(data());
    case DType::kInt16:
      return read_scalar<std::int16_t>(data());
    case DType::kInt32:
      return read_scalar<std::int32_t>(data());
    case DType::kInt64:
      return read_scalar<std::int64_t>(data());
    case DType::kUInt8:
      return read_scalar<std::uint8_t>(data());
    case DType::kUInt16:
      return read_scalar<std::uint16_t>(data());
    case DType::kUInt32:
      return read_scalar<std::uint32_t>(data());
    case DType::kUInt64:
      return read_scalar<std::uint64_t>(data());
    case DType::kFloat32:
      return read_scalar<float>(data());
    case DType::kFloat64:
      return read_scalar<double>(data());
    case DType::kComplex64:
      return read_scalar<std::complex<float>>(data());
    case DType::kComplex128:
      return read_scalar<std::complex<double>>(data());
    case DType::kFloat16:
    case DType::kBFloat16:
      break;
  }
  array::refuse("item", "the dtype must have a C++ type; got ", dtype_, "; try astype(float32)");
}

const Shape& Array::shape() const noexcept {
  return node_->outputs[static_cast<std::size_t>(output_)].shape;
}

DType Array::dtype() const noexcept {
  return node_->outputs[static_cast<std::size_t>(output_)].dtype;
}

const ChunkGrid& Array::chunks() const noexcept {
  return node_->outputs[static_cast<std::size_t>(output_)].grid;
}

std::int64_t Array::size() const noexcept {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape()) count *= extent;
  return count;
}

std::size_t Array::nbytes() const noexcept {
  return static_cast<std::size_t>(size()) * itemsize(dtype());
}

Array Array::T(std::source_location where) const {
  array::AffineRead read = array::identity_read(ndim());
  for (array::AxisRead& axis : read) axis.axis = ndim() - 1 - axis.axis;
  return array::make_view("T", *this, std::move(read), Shape(shape().rbegin(), shape().rend()),
                          where);
}

void Array::check_single() const {
  if (size() != 1) {
    array::refuse("item", "the array must have one element; got shape ", to_string(shape()),
                  "; try compute() or an index");
  }
}

Array Operand::array() const {
  if (!is_scalar()) return std::get<Array>(value_);
  return array::make_array("constant", array::Constant{scalar()}, {}, scalar().default_dtype(),
                           ChunkGrid(), where_);
}

}  // namespace tessera
