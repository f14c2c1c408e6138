#include "engine_reference.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <sstream>

#include "tessera/creation.hpp"

namespace tessera::testing {

namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

// Calls `visit` with a value of the C++ type of the dtype.
template <typename Visit>
auto with_type(DType dtype, const Visit& visit) {
  switch (dtype) {
    case DType::kBool:
      return visit(bool{});
    case DType::kInt8:
      return visit(std::int8_t{});
    case DType::kInt16:
      return visit(std::int16_t{});
    case DType::kInt32:
      return visit(std::int32_t{});
    case DType::kInt64:
      return visit(std::int64_t{});
    case DType::kUInt8:
      return visit(std::uint8_t{});
    case DType::kUInt16:
      return visit(std::uint16_t{});
    case DType::kUInt32:
      return visit(std::uint32_t{});
    case DType::kUInt64:
      return visit(std::uint64_t{});
    case DType::kFloat32:
      return visit(float{});
    case DType::kComplex64:
      return visit(std::complex<float>{});
    case DType::kComplex128:
      return visit(std::complex<double>{});
    default:
      return visit(double{});
  }
}

template <typename T>
T narrow(const Number& x) {
  if constexpr (std::is_same_v<T, bool>) {
    return x != Number(0);
  } else if constexpr (std::is_arithmetic_v<T>) {
    return static_cast<T>(x.real());
  } else {
    using Part = typename T::value_type;
    return {static_cast<Part>(x.real()), static_cast<Part>(x.imag())};
  }
}

template <typename T>
Number widen(const T& x) {
  if constexpr (std::is_arithmetic_v<T>) {
    return Number(static_cast<long double>(x));
  } else {
    return Number(x.real(), x.imag());
  }
}

// Integers wrap around.
Number wrapped(const Number& x, DType dtype) {
  if (!is_integer(dtype)) return x;
  const auto wide = static_cast<__int128>(x.real());
  return with_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
      return Number(static_cast<long double>(static_cast<T>(wide)));
    } else {
      return x;
    }
  });
}

long double precision(DType dtype) {
  const DType real = real_dtype(dtype);
  if (real == DType::kFloat32) return std::numeric_limits<float>::epsilon();
  return real == DType::kFloat64 ? std::numeric_limits<double>::epsilon() : 0.0L;
}

bool few_bits(long double x) { return std::abs(x) < 131072.0L && std::floor(x * 64) == x * 64; }

bool same(const Number& a, const Number& b, long double tolerance) {
  if (is_nan(a) || is_nan(b)) return is_nan(a) && is_nan(b);
  if (is_wild(a) || is_wild(b)) return a == b;
  return std::abs(a - b) <= tolerance;
}

}  // namespace

const Number& Reference::at(const Place& place) const {
  std::int64_t linear = 0;
  for (std::size_t d = 0; d < shape.size(); ++d) linear = linear * shape[d] + place[d];
  return values.at(static_cast<std::size_t>(linear));
}

void for_each_place(const Shape& shape, const std::function<void(const Place&)>& visit) {
  if (element_count(shape) == 0) return;
  Place place(shape.size(), 0);
  while (true) {
    visit(place);
    std::size_t d = shape.size();
    while (d > 0 && ++place[d - 1] == shape[d - 1]) place[--d] = 0;
    if (d == 0) return;
  }
}

Reference build(const Shape& shape, DType dtype, const std::vector<const Reference*>& inputs,
                const std::function<Number(const Place&)>& value) {
  Reference out;
  out.shape = shape;
  out.dtype = dtype;
  out.values.reserve(at(element_count(shape)));
  out.eps = precision(dtype);
  for (const Reference* input : inputs) {
    out.exact = out.exact && input->exact;
    out.scale = std::max(out.scale, input->scale);
    out.eps = std::max(out.eps, input->eps);
  }
  for_each_place(shape, [&](const Place& place) {
    const Number x = wrapped(value(place), dtype);
    out.values.push_back(x);
    if (is_wild(x)) return;
    out.scale = std::max(out.scale, std::abs(x));
    out.exact = out.exact && few_bits(x.real()) && few_bits(x.imag());
  });
  return out;
}

Place broadcast_place(const Place& place, const Shape& from) {
  Place out(from.size());
  for (std::size_t d = 0; d < from.size(); ++d) {
    out[d] = from[d] == 1 ? 0 : place[d + place.size() - from.size()];
  }
  return out;
}

std::optional<Shape> broadcast(const Shape& a, const Shape& b) {
  Shape out(std::max(a.size(), b.size()), 1);
  for (std::size_t d = 0; d < out.size(); ++d) {
    const std::int64_t x = d < a.size() ? a[a.size() - 1 - d] : 1;
    const std::int64_t y = d < b.size() ? b[b.size() - 1 - d] : 1;
    if (x != y && x != 1 && y != 1) return std::nullopt;
    out[out.size() - 1 - d] = x == 1 ? y : x;
  }
  return out;
}

std::vector<Number> fibre(const Reference& x, const std::vector<bool>& axes, const Place& place) {
  Shape inner(x.shape.size(), 1);
  for (std::size_t d = 0; d < inner.size(); ++d) inner[d] = axes[d] ? x.shape[d] : 1;
  std::vector<Number> out;
  for_each_place(inner, [&](const Place& offset) {
    Place source = offset;
    for (std::size_t d = 0; d < source.size(); ++d) {
      if (!axes[d]) source[d] = place[d];
    }
    out.push_back(x.at(source));
  });
  return out;
}

Reference reduced(const Reference& x, const std::vector<bool>& axes, bool keepdims, DType dtype,
                  const std::function<Number(const std::vector<Number>&)>& reduce) {
  Shape shape;
  for (std::size_t d = 0; d < axes.size(); ++d) {
    if (!axes[d]) shape.push_back(x.shape[d]);
    if (axes[d] && keepdims) shape.push_back(1);
  }
  return build(shape, dtype, {&x}, [&](const Place& place) {
    Place full(axes.size(), 0);
    std::size_t next = 0;
    for (std::size_t d = 0; d < axes.size(); ++d) {
      if (!axes[d]) full[d] = place[next];
      if (!axes[d] || keepdims) ++next;
    }
    return reduce(fibre(x, axes, full));
  });
}

bool is_nan(const Number& x) { return std::isnan(x.real()) || std::isnan(x.imag()); }
bool is_wild(const Number& x) { return !std::isfinite(x.real()) || !std::isfinite(x.imag()); }

bool before(const Number& a, const Number& b) {
  if (is_nan(a) || is_nan(b)) return !is_nan(a) && is_nan(b);
  return a.real() != b.real() ? a.real() < b.real() : a.imag() < b.imag();
}

std::string difference(const HostArray& result, const Reference& reference) {
  std::ostringstream out;
  out.precision(17);
  if (result.shape() != reference.shape) {
    out << "shape " << to_string(result.shape()) << " for " << to_string(reference.shape);
    return out.str();
  }
  if (result.dtype() != reference.dtype) {
    out << "dtype " << result.dtype() << " for " << reference.dtype;
    return out.str();
  }
  const long double tolerance = reference.exact ? 0 : 256 * reference.eps * reference.scale;
  with_type(reference.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto values = result.span<T>();
    for (std::size_t i = 0; i < values.size(); ++i) {
      const Number got = widen(values[i]);
      if (same(got, reference.values[i], tolerance)) continue;
      out << "element " << i << " of " << to_string(reference.shape) << " " << reference.dtype
          << " is " << got << " for " << reference.values[i] << ", tolerance " << tolerance;
      return;
    }
  });
  return out.str();
}

Array to_array(const Reference& reference, const Chunks& chunks) {
  std::vector<std::byte> bytes(reference.values.size() * itemsize(reference.dtype));
  with_type(reference.dtype, [&](auto zero) {
    using T = decltype(zero);
    for (std::size_t i = 0; i < reference.values.size(); ++i) {
      const T value = narrow<T>(reference.values[i]);
      std::memcpy(bytes.data() + i * sizeof(T), &value, sizeof(T));
    }
  });
  return copy_memory(bytes.data(), reference.dtype, reference.shape, {.chunks = chunks});
}

}  // namespace tessera::testing
