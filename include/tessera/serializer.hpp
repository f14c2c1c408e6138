#pragma once

#include <array>
#include <complex>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "tessera/array.hpp"
#include "tessera/error.hpp"

// How values become bytes and come back: the results of delayed calls, where several ranks compute
// together. All of them run the same program, so that bytes are those of its own types, in the
// order of this machine. Numbers, enumerations, strings, pairs, tuples, optional values, standard
// containers and HostArray are written as they are, and so are structs without constructors whose
// members are numbers and such structs: they must hold no pointers or views, of which nothing can
// be told. Other types specialise Serializer:
//
//   template <>
//   struct tessera::Serializer<Words> {
//     static void write(ByteWriter& to, const Words& words) { to.write(words.counts); }
//     static Words read(ByteReader& from) { return {from.read<std::map<std::string, int>>()}; }
//   };

namespace tessera {

template <typename T>
struct Serializer {};

/// Values one after the other, as bytes.
class ByteWriter {
 public:
  template <typename T>
  void write(const T& value) {
    Serializer<T>::write(*this, value);
  }
  void write_bytes(const void* data, std::size_t count) {
    bytes_.append(static_cast<const char*>(data), count);
  }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

/// The same values, read in the same order.
class ByteReader {
 public:
  /// The bytes stay the caller's and must outlive it.
  explicit ByteReader(std::string_view bytes) : bytes_(bytes) {}
  /// \throws Error where the bytes end early.
  template <typename T>
  T read() {
    return Serializer<T>::read(*this);
  }
  void read_bytes(void* to, std::size_t count) {
    need(count);
    if (count > 0) std::memcpy(to, bytes_.data(), count);
    bytes_.remove_prefix(count);
  }
  std::size_t left() const noexcept { return bytes_.size(); }
  void need(std::uint64_t count) const {
    if (count <= bytes_.size()) return;
    throw Error("[serializer] a value is read as it was written; got " +
                std::to_string(bytes_.size()) + " bytes where " + std::to_string(count) +
                " are wanted; try a read() that mirrors its write()");
  }

 private:
  std::string_view bytes_;
};

template <typename T>
concept Serializable = requires(ByteWriter& to, ByteReader& from, const T& value) {
  Serializer<T>::write(to, value);
  { Serializer<T>::read(from) } -> std::convertible_to<T>;
};

namespace detail {

template <typename T>
inline constexpr bool kIsStdArray = false;
template <typename T, std::size_t N>
inline constexpr bool kIsStdArray<std::array<T, N>> = true;

/// Values that are their bytes.
template <typename T>
concept PlainValue = std::is_trivially_copyable_v<T> && std::default_initializable<T> &&
                     (std::is_arithmetic_v<T> || std::is_enum_v<T> || std::is_aggregate_v<T>) &&
                     !std::is_array_v<T> && !kIsStdArray<T>;
/// Of these, such as nobody says another way of.
template <typename T>
concept WrittenAsBytes = PlainValue<T> && requires { typename Serializer<T>::AsBytes; };

template <typename Container, typename Value>
struct ContainerSerializer {
  static void write(ByteWriter& to, const Container& values) {
    to.write(static_cast<std::uint64_t>(values.size()));
    for (const auto& value : values) to.write<Value>(value);
  }
  static Container read(ByteReader& from) {
    const auto count = from.read<std::uint64_t>();
    Container values;
    for (std::uint64_t i = 0; i < count; ++i) values.insert(values.end(), from.read<Value>());
    return values;
  }
};

template <typename Pairs, typename Key, typename Value>
struct PairsSerializer {
  static void write(ByteWriter& to, const Pairs& pairs) {
    to.write(static_cast<std::uint64_t>(pairs.size()));
    for (const auto& [key, value] : pairs) {
      to.write(key);
      to.write(value);
    }
  }
  static Pairs read(ByteReader& from) {
    const auto count = from.read<std::uint64_t>();
    Pairs pairs;
    for (std::uint64_t i = 0; i < count; ++i) {
      Key key = from.read<Key>();
      pairs.emplace_hint(pairs.end(), std::move(key), from.read<Value>());
    }
    return pairs;
  }
};

}  // namespace detail

template <detail::PlainValue T>
struct Serializer<T> {
  using AsBytes = void;
  static void write(ByteWriter& to, const T& value) { to.write_bytes(&value, sizeof value); }
  static T read(ByteReader& from) {
    T value;
    from.read_bytes(&value, sizeof value);
    return value;
  }
};

template <typename T>
struct Serializer<std::complex<T>> {
  static void write(ByteWriter& to, const std::complex<T>& value) {
    to.write_bytes(&value, sizeof value);
  }
  static std::complex<T> read(ByteReader& from) {
    std::complex<T> value;
    from.read_bytes(&value, sizeof value);
    return value;
  }
};

template <>
struct Serializer<std::string> {
  static void write(ByteWriter& to, const std::string& text) {
    to.write(static_cast<std::uint64_t>(text.size()));
    to.write_bytes(text.data(), text.size());
  }
  static std::string read(ByteReader& from) {
    const auto count = from.read<std::uint64_t>();
    from.need(count);
    std::string text(static_cast<std::size_t>(count), '\0');
    from.read_bytes(text.data(), text.size());
    return text;
  }
};

template <detail::WrittenAsBytes T, typename Allocator>
  requires(!std::same_as<T, bool>)
struct Serializer<std::vector<T, Allocator>> {
  static void write(ByteWriter& to, const std::vector<T, Allocator>& values) {
    to.write(static_cast<std::uint64_t>(values.size()));
    to.write_bytes(values.data(), values.size() * sizeof(T));
  }
  static std::vector<T, Allocator> read(ByteReader& from) {
    const auto count = from.read<std::uint64_t>();
    from.need(count > from.left() ? count : count * sizeof(T));
    std::vector<T, Allocator> values(static_cast<std::size_t>(count));
    from.read_bytes(values.data(), values.size() * sizeof(T));
    return values;
  }
};
template <Serializable T, typename Allocator>
  requires(!detail::WrittenAsBytes<T> || std::same_as<T, bool>)
struct Serializer<std::vector<T, Allocator>>
    : detail::ContainerSerializer<std::vector<T, Allocator>, T> {};

template <Serializable T, typename Order, typename Allocator>
struct Serializer<std::set<T, Order, Allocator>>
    : detail::ContainerSerializer<std::set<T, Order, Allocator>, T> {};
template <Serializable T, typename Hash, typename Equal, typename Allocator>
struct Serializer<std::unordered_set<T, Hash, Equal, Allocator>>
    : detail::ContainerSerializer<std::unordered_set<T, Hash, Equal, Allocator>, T> {};
template <Serializable K, Serializable V, typename Order, typename Allocator>
struct Serializer<std::map<K, V, Order, Allocator>>
    : detail::PairsSerializer<std::map<K, V, Order, Allocator>, K, V> {};
template <Serializable K, Serializable V, typename Hash, typename Equal, typename Allocator>
struct Serializer<std::unordered_map<K, V, Hash, Equal, Allocator>>
    : detail::PairsSerializer<std::unordered_map<K, V, Hash, Equal, Allocator>, K, V> {};

template <Serializable T, std::size_t N>
struct Serializer<std::array<T, N>> {
  static void write(ByteWriter& to, const std::array<T, N>& values) {
    for (const T& value : values) to.write(value);
  }
  static std::array<T, N> read(ByteReader& from) {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      // Braces are evaluated in order.
      return std::array<T, N>{(static_cast<void>(I), from.read<T>())...};
    }(std::make_index_sequence<N>());
  }
};

template <Serializable... T>
struct Serializer<std::tuple<T...>> {
  static void write(ByteWriter& to, const std::tuple<T...>& values) {
    std::apply([&](const T&... value) { (to.write(value), ...); }, values);
  }
  static std::tuple<T...> read(ByteReader& from) { return std::tuple<T...>{from.read<T>()...}; }
};

template <Serializable A, Serializable B>
struct Serializer<std::pair<A, B>> {
  static void write(ByteWriter& to, const std::pair<A, B>& values) {
    to.write(values.first);
    to.write(values.second);
  }
  static std::pair<A, B> read(ByteReader& from) {
    return std::pair<A, B>{from.read<A>(), from.read<B>()};
  }
};

template <Serializable T>
struct Serializer<std::optional<T>> {
  static void write(ByteWriter& to, const std::optional<T>& value) {
    to.write(value.has_value());
    if (value) to.write(*value);
  }
  static std::optional<T> read(ByteReader& from) {
    if (!from.read<bool>()) return std::nullopt;
    return from.read<T>();
  }
};

template <>
struct Serializer<HostArray> {
  static void write(ByteWriter& to, const HostArray& array) {
    to.write(array.dtype());
    to.write(std::vector<std::int64_t>(array.shape().begin(), array.shape().end()));
    to.write_bytes(array.data(), array.nbytes());
  }
  static HostArray read(ByteReader& from) {
    const auto dtype = from.read<DType>();
    const auto extents = from.read<std::vector<std::int64_t>>();
    const HostArray empty(Shape(extents.begin(), extents.end()), dtype, nullptr);
    const std::size_t bytes = empty.nbytes();
    from.need(bytes);
    // Aligned for any vector instruction, like other arrays.
    constexpr std::align_val_t kAlignment{64};
    const std::shared_ptr<std::byte> memory(
        static_cast<std::byte*>(::operator new(bytes, kAlignment)),
        [](std::byte* data) { ::operator delete(data, kAlignment); });
    from.read_bytes(memory.get(), bytes);
    return HostArray(empty.shape(), dtype, memory);
  }
};

}  // namespace tessera
