#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <iostream>

#include "engine_walk.hpp"
#include "sanitizers.hpp"

// Random expressions of everything that a user can call, against eager numbers.

namespace tessera::testing {
namespace {

constexpr std::uint64_t kFirstSeed = 20'240'601;
constexpr std::uint64_t kCases = fewer_under_tsan(900);

SessionOptions options_of(std::uint64_t seed) {
  SessionOptions options;
  options.devices = seed % 3 == 0 ? "host:3" : "host";
  options.workers = static_cast<int>(1 + seed % 2);
  options.device_memory_bytes = seed % 4 == 0 ? std::size_t{8} << 20 : std::size_t{64} << 20;
  options.host_memory_bytes = std::size_t{16} << 20;
  options.disk_memory_bytes = std::size_t{64} << 20;
  options.fuse = seed % 5 != 0;
  return options;
}

void grow(Walk& walk) {
  int steps = 0;
  for (int attempt = 0; attempt < 60 && steps < 7; ++attempt) steps += walk.step() ? 1 : 0;
}

bool same_bits(const HostArray& a, const HostArray& b) {
  return a.nbytes() == b.nbytes() && std::memcmp(a.data(), b.data(), a.nbytes()) == 0;
}

// What is wrong with the results of a walk; "" if nothing is.
std::string check(std::uint64_t seed) {
  Session session(options_of(seed));
  const SessionScope scope(session);
  Walk walk(seed);
  grow(walk);
  std::vector<Array> arrays;
  for (const Pair& pair : walk.pool()) arrays.push_back(pair.array);
  const std::vector<HostArray> results = session.compute(arrays);
  for (std::size_t i = 0; i < results.size(); ++i) {
    const std::string found = difference(results[i], walk.pool()[i].reference);
    if (!found.empty()) return "value " + std::to_string(i) + ": " + found;
  }
  // The last value alone fuses otherwise than all values together, and must have the same bits.
  if (!same_bits(arrays.back().compute(), results.back())) return "other bits when computed alone";
  if (walk.persisted()) return "";
  SessionOptions other = options_of(seed);
  other.devices = "host:2";
  other.fuse = !*other.fuse;
  other.shuffle_seed = seed;
  Session second(other);
  return same_bits(second.compute({arrays.back()})[0], results.back())
             ? ""
             : "other bits when fused otherwise";
}

// What the walk of this seed did, for a failure's message.
std::string log_of(std::uint64_t seed) {
  Session session(options_of(seed));
  const SessionScope scope(session);
  Walk walk(seed);
  try {
    grow(walk);
  } catch (const Error& error) {
    return walk.log() + error.what();
  }
  return walk.log();
}

TEST(EngineProperty, RandomExpressionsMatchEagerNumbers) {
  std::cout << "seeds from " << kFirstSeed << "; one alone with TESSERA_TEST_SEED\n";
  const char* only = std::getenv("TESSERA_TEST_SEED");
  const std::uint64_t first = only != nullptr ? std::stoull(only) : kFirstSeed;
  const std::uint64_t count = only != nullptr ? 1 : kCases;
  int failures = 0;
  for (std::uint64_t seed = first; seed < first + count && failures < 5; ++seed) {
    std::string wrong;
    try {
      wrong = check(seed);
    } catch (const Error& error) {
      wrong = error.what();
    }
    failures += wrong.empty() ? 0 : 1;
    EXPECT_EQ(wrong, "") << "seed " << seed << ":\n" << log_of(seed);
  }
}

// Products cut into many blocks are planned otherwise than those of few: one chain over all of k.
TEST(EngineProperty, ProductsOfManyBlocks) {
  for (const Shape& shape :
       {Shape{17, 3}, Shape{16, 5}, Shape{4, 9, 3}, Shape{2, 2, 9, 2}, Shape{25, 3}}) {
    const std::size_t rank = shape.size();
    Shape out = shape;
    out[rank - 1] = shape[rank - 2];
    const auto number = [](const Place& p) {
      long double v = 1;
      for (const std::int64_t i : p) v = 3 * v - static_cast<long double>(i);
      return Number(v);
    };
    const Reference a = build(shape, DType::kFloat64, {}, number);
    const Reference expected = build(out, DType::kFloat64, {}, [&](const Place& p) {
      Place left = p;
      Place right = p;
      right[rank - 2] = p[rank - 1];
      Number sum = 0;
      for (std::int64_t k = 0; k < shape[rank - 1]; ++k) {
        left[rank - 1] = right[rank - 1] = k;
        sum += a.at(left) * a.at(right);
      }
      return sum;
    });
    const Chunks single(std::vector<std::int64_t>(rank, 1));
    const Array x = to_array(a, single);
    EXPECT_EQ(difference(matmul(x, matrix_transpose(to_array(a, single))).compute(), expected), "");
    EXPECT_EQ(difference(matmul(x, matrix_transpose(x)).compute(), expected), "")
        << to_string(shape);
  }
}

}  // namespace
}  // namespace tessera::testing
