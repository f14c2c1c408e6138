#include "tessera/serializer.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <string_view>

namespace tessera {
namespace {

template <typename T>
T there_and_back(const T& value) {
  ByteWriter to;
  to.write(value);
  to.write(std::uint16_t{0xabcd});
  const std::string bytes = to.take();
  // Short of any of its bytes, what is read is refused.
  for (std::size_t length = 0; length < bytes.size(); length += 1 + bytes.size() / 50) {
    ByteReader from(std::string_view(bytes).substr(0, length));
    EXPECT_THROW(
        {
          from.read<T>();
          from.read<std::uint16_t>();
        },
        Error);
  }
  ByteReader from(bytes);
  T out = from.read<T>();
  EXPECT_EQ(from.read<std::uint16_t>(), 0xabcd);
  EXPECT_EQ(from.left(), 0U);
  return out;
}

enum class Kind : std::int16_t { kOne = 1, kMany = -300 };
struct Plain {
  double mean = 0.0;
  std::array<int, 3> counts{};
  Kind kind = Kind::kOne;
  bool operator==(const Plain&) const = default;
};

TEST(Serializer, ValuesComeBack) {
  const auto same = [](const auto& value) { EXPECT_EQ(there_and_back(value), value); };
  same(true);
  same(std::int64_t{-5});
  same(std::numeric_limits<double>::infinity());
  same(Kind::kMany);
  same(Plain{2.5, {1, -2, 3}, Kind::kMany});
  same(std::complex<float>(1.0F, -2.0F));
  same(std::string());
  same(std::string("a\0b", 3));
  same(std::vector<double>{1.0, -0.0, 3.0});
  same(std::vector<bool>{true, false, true, true});
  same(std::vector<std::string>{"", "x", std::string(1000, 'y')});
  same(std::vector<std::vector<int>>{{}, {1}, {2, 3}});
  same(std::vector<Plain>(3, Plain{1.0, {4, 5, 6}, Kind::kOne}));
  same(std::array<std::string, 2>{"left", "right"});
  same(std::pair(std::string("a"), 2));
  same(std::tuple(1, std::string("b"), std::vector<float>{2.0F}));
  same(std::tuple<>());
  same(std::optional<std::string>());
  same(std::optional<std::string>("there"));
  same(std::set<int>{3, 1, 2});
  same(std::unordered_set<std::string>{"p", "q"});
  same(std::map<std::string, std::vector<int>>{{"k", {1, 2}}, {"l", {}}});
  same(std::unordered_map<int, std::string>{{1, "one"}, {2, "two"}});
}

TEST(Serializer, HostArraysComeBack) {
  for (const Shape& shape : {Shape{}, Shape{0, 3}, Shape{5}, Shape{3, 4, 5}}) {
    const auto count = static_cast<std::size_t>(element_count(shape));
    const std::shared_ptr<std::byte> memory(new std::byte[8 * count + 1],
                                            std::default_delete<std::byte[]>());
    const HostArray array(shape, DType::kFloat64, memory);
    std::iota(array.span<double>().begin(), array.span<double>().end(), 0.5);
    const HostArray back = there_and_back(array);
    EXPECT_EQ(back.shape(), shape);
    EXPECT_EQ(back.dtype(), DType::kFloat64);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(back.data()) % 64, 0U);
    EXPECT_EQ(std::memcmp(back.data(), array.data(), 8 * count), 0);
  }
}

// A length that is none is no reason to ask for so much memory.
TEST(Serializer, LengthsAreHeldAgainstWhatIsThere) {
  for (const std::uint64_t length :
       {std::uint64_t{100}, std::uint64_t{1} << 40, std::uint64_t{1} << 61, ~std::uint64_t{0}}) {
    ByteWriter to;
    to.write(length);
    to.write(std::string("abc"));
    const std::string bytes = to.take();
    EXPECT_THROW(ByteReader(bytes).read<std::string>(), Error);
    EXPECT_THROW(ByteReader(bytes).read<std::vector<double>>(), Error);
    EXPECT_THROW(ByteReader(bytes).read<std::vector<std::string>>(), Error);
    EXPECT_THROW((ByteReader(bytes).read<std::map<std::string, int>>()), Error);
  }
}

struct Opened {
  Opened() {}
  int handle = 0;
  std::string name;
};
// What points elsewhere says nothing there.
static_assert(!Serializable<int*>);
static_assert(!Serializable<std::string_view>);
static_assert(!Serializable<std::span<int>>);
static_assert(!Serializable<std::shared_ptr<int>>);
static_assert(!Serializable<Opened>);
static_assert(!Serializable<std::vector<Opened>>);
static_assert(!Serializable<std::map<int, std::string_view>>);
static_assert(!Serializable<std::array<const char*, 2>>);
static_assert(!Serializable<std::array<std::string_view, 2>>);
static_assert(Serializable<std::monostate>);

/// Which would be written as its bytes, if it did not say how.
struct View {
  const char* text = nullptr;
};

}  // namespace

template <>
struct Serializer<View> {
  static void write(ByteWriter& to, const View& view) { to.write(std::string(view.text)); }
  static View read(ByteReader& from) { return {from.read<std::string>() == "one" ? "uno" : "due"}; }
};

namespace {

TEST(Serializer, WhatATypeSaysOfItselfHoldsInContainers) {
  ByteWriter to;
  to.write(std::vector<View>{{"one"}, {"two"}});
  to.write(std::array<View, 1>{{{"one"}}});
  const std::string bytes = to.take();
  ByteReader from(bytes);
  const auto views = from.read<std::vector<View>>();
  EXPECT_STREQ(views[0].text, "uno");
  EXPECT_STREQ(views[1].text, "due");
  EXPECT_STREQ((from.read<std::array<View, 1>>()[0].text), "uno");
}

}  // namespace
}  // namespace tessera
