#include <gtest/gtest.h>

#include <limits>

#include "tessera/error.hpp"
#include "tests/cuda/engine_on_cuda.hpp"
#include "tests/cuda/simulated_cuda.hpp"

// Searches and selections on a simulated device beside the host's.

namespace tessera::testing {
namespace {

const DType kReal[] = {DType::kBool,   DType::kInt8,    DType::kUInt16,
                       DType::kUInt64, DType::kFloat32, DType::kFloat64};

/// Few different numbers of either sign, NaN among floats.
Array some(const Shape& shape, const Chunks& chunks, DType dtype, std::uint64_t seed) {
  const Array whole = random::integers(-9, 10, shape, {.chunks = chunks, .seed = seed});
  if (dtype == DType::kBool) return whole > 3;
  const bool is_unsigned = kind(dtype) == DTypeKind::kUnsignedInteger;
  const Array typed = astype(is_unsigned ? abs(whole) : whole, dtype);
  if (!is_floating(dtype)) return typed;
  const Array missing = random::uniform(shape, {.chunks = chunks, .seed = seed + 1}) < 0.1;
  return where(missing, astype(full({}, std::numeric_limits<double>::quiet_NaN()), dtype),
               typed * astype(full({}, 0.5), dtype));
}

class SelectionCuda : public ::testing::Test {
 protected:
  SelectionCuda() { seams_.cuda = &machine_.api(); }
  ~SelectionCuda() override {
    EXPECT_EQ(machine_.misuse(), "");
    EXPECT_EQ(machine_.bytes_in_use(), 0U);
  }
  template <typename Make>
  void compare(const Make& make, const std::string& what) {
    const Workload work{"selection", make};
    expect_same_bits(run_on(seams_, ample("host"), work), run_on(seams_, ample("cuda:0-1"), work),
                     what);
  }
  SimulatedCuda machine_{{.thread_order = 5}};
  scheduler::Seams seams_;
};

TEST_F(SelectionCuda, SearchesInSortedElements) {
  for (const DType dtype : kReal) {
    for (const std::int64_t size : {0, 1, 7, 300}) {
      compare(
          [&] {
            const Array table = sort(some({size}, {}, dtype, 3));
            const Array x = some({23, 40}, Chunks{9, 17}, dtype, 5);
            return std::vector<Array>{searchsorted(table, x),
                                      searchsorted(table, x, {.right = true}), isin(x, table),
                                      isin(x, table, {.invert = true})};
          },
          std::string(name(dtype)) + " in " + std::to_string(size));
    }
  }
  EXPECT_GT(machine_.launches("search"), 0);
  EXPECT_GT(machine_.launches("find"), 0);
}

TEST_F(SelectionCuda, TakesAlongAnAxis) {
  for (const DType dtype :
       {DType::kBool, DType::kInt16, DType::kFloat32, DType::kFloat64, DType::kComplex128}) {
    for (const int axis : {0, 1, 2}) {
      compare(
          [&] {
            Shape shape{7, 12, 5};
            Chunks chunks{axis == 0 ? 7 : 3, axis == 1 ? 12 : 5, axis == 2 ? 5 : 2};
            Array x = is_complex(dtype) ? astype(some(shape, chunks, DType::kInt32, 1), dtype)
                                        : some(shape, chunks, dtype, 1);
            const std::int64_t extent = shape[static_cast<std::size_t>(axis)];
            shape[static_cast<std::size_t>(axis)] = 9;
            const Array places =
                random::integers(-extent, extent, shape, {.chunks = chunks, .seed = 2});
            return std::vector<Array>{take_along_axis(x, places, axis)};
          },
          std::string(name(dtype)) + " along axis " + std::to_string(axis));
    }
  }
  EXPECT_GT(machine_.launches("gather_along"), 0);
}

TEST_F(SelectionCuda, PositionsBeyondTheAxisAreErrors) {
  for (const std::int64_t wrong : {5, -6}) {
    std::string errors[2];
    for (int on = 0; on < 2; ++on) {
      Session session = seams_.open(ample(on == 0 ? "host" : "cuda:0"));
      const SessionScope scope(session);
      try {
        take_along_axis(arange(5.0), full({3}, wrong), 0).compute();
      } catch (const Error& e) {
        errors[on] = e.what();
      }
      EXPECT_EQ(
          take_along_axis(arange(5.0), full({3}, std::int64_t{-5}), 0).compute().span<double>()[2],
          0.0);
    }
    EXPECT_NE(errors[1].find("a position must lie on its axis; got " + std::to_string(wrong) +
                             " for axis 0 of extent 5"),
              std::string::npos)
        << errors[1];
    EXPECT_EQ(errors[1].substr(0, errors[1].find('\n')), errors[0].substr(0, errors[0].find('\n')));
  }
}

TEST_F(SelectionCuda, MasksSelect) {
  for (const DType dtype :
       {DType::kBool, DType::kInt16, DType::kFloat32, DType::kFloat64, DType::kComplex128}) {
    for (const double share : {0.0, 0.3, 1.0}) {
      compare(
          [&] {
            const Chunks chunks{9, 17};
            const Array whole = some({40, 51}, chunks, DType::kInt32, 7);
            const Array x = dtype == DType::kBool ? whole > 0 : astype(whole, dtype);
            const Array mask = random::uniform({40, 51}, {.chunks = chunks, .seed = 8}) < share;
            const Array rows = random::uniform({40}, {.chunks = {9}, .seed = 9}) < share;
            const Array columns = random::uniform({51}, {.chunks = {17}, .seed = 9}) < share;
            std::vector<Array> out{masked_select(x, mask), compress(rows, x, 0),
                                   compress(columns, x, 1)};
            for (const Array& places : nonzero(mask)) out.push_back(places);
            return out;
          },
          std::string(name(dtype)) + ", " + std::to_string(share));
    }
  }
  EXPECT_GT(machine_.launches("count_true_of_tiles"), 0);
  EXPECT_GT(machine_.launches("list_true"), 0);
}

// More tiles than a block of threads sums at once.
TEST_F(SelectionCuda, LongMasksSelect) {
  compare(
      [&] {
        const Array x = arange(std::int64_t{1'100'003}, {.chunks = {1'100'003}});
        return std::vector<Array>{masked_select(
            x, random::uniform({1'100'003}, {.chunks = {1'100'003}, .seed = 1}) < 0.01)};
      },
      "a long mask");
}

}  // namespace
}  // namespace tessera::testing
