#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>

#include "tessera/error.hpp"
#include "tests/cuda/engine_on_cuda.hpp"
#include "tests/cuda/simulated_cuda.hpp"

// Grouped reductions on a simulated device beside the host's.

namespace tessera::testing {
namespace {

struct Grouping {
  Shape shape;
  Chunks chunks;
  int axis;
  std::int64_t groups;
};
// Few and many lanes, lanes of one element, more blocks than one task merges, ragged chunks, groups
// in some blocks alone.
const Grouping kGroupings[] = {
    {{400}, Chunks{170}, 0, 3},          {{90, 40}, Chunks{50, 17}, 0, 12},
    {{40, 90}, Chunks{17, 50}, 1, 12},   {{3, 200, 5}, Chunks{2, 9, 5}, 1, 4},
    {{60, 300}, Chunks{60, 300}, 0, 70}, {{7, 6, 1}, Chunks{3, 6, 1}, 2, 2},
    {{0, 4}, Chunks{1, 4}, 0, 2},        {{700, 3}, Chunks{700, 3}, 0, 1}};

std::vector<std::int64_t> labels_of(const Grouping& grouping, std::mt19937_64& random) {
  const std::int64_t extent = grouping.shape[static_cast<std::size_t>(grouping.axis)];
  std::vector<std::int64_t> out;
  for (std::int64_t i = 0; i < extent; ++i) {
    const auto any =
        static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(grouping.groups));
    out.push_back(random() % 9 == 0 ? -1 : random() % 2 == 0 ? any : i * grouping.groups / extent);
  }
  return out;
}

/// Whole numbers, some of them missing where the dtype has such.
Array values(const Grouping& grouping, DType dtype) {
  const Array whole =
      random::integers(0, 10, grouping.shape, {.chunks = grouping.chunks, .seed = 7});
  if (dtype == DType::kBool) return whole > 4;
  const Array some = astype(whole, dtype);
  if (!is_floating(dtype)) return some;
  const Array missing =
      random::uniform(grouping.shape, {.chunks = grouping.chunks, .seed = 8}) < 0.1;
  return where(missing, astype(full({}, std::numeric_limits<double>::quiet_NaN()), dtype), some);
}

void check(const std::vector<const char*>& functions, DType dtype) {
  SimulatedCuda machine({.thread_order = 5});
  scheduler::Seams seams;
  seams.cuda = &machine.api();
  std::mt19937_64 random(3);
  for (const Grouping& grouping : kGroupings) {
    const std::vector<std::int64_t> labels = labels_of(grouping, random);
    const Array x = values(grouping, dtype);
    const auto group = [&](const char* function) {
      return groupby_reduce(x, labels, function,
                            {.axis = grouping.axis, .group_count = grouping.groups});
    };
    const Workload work{"groups", [&] {
                          std::vector<Array> out;
                          for (const char* function : functions) {
                            // Without an element there is no smallest one: said at the call.
                            try {
                              out.push_back(group(function));
                            } catch (const InvalidArgument&) {
                            }
                          }
                          return out;
                        }};
    const std::vector<HostArray> got = run_on(seams, ample("cuda:0-1"), work);
    EXPECT_GE(got.size() + 4, functions.size());
    expect_close(run_on(seams, ample("host"), work), got,
                 std::string(name(dtype)) + " in groups of " + to_string(grouping.shape));
  }
  EXPECT_GT(machine.launches("fold_groups"), 0);
  EXPECT_GT(machine.launches("merge_groups_of_blocks"), 0);
  EXPECT_EQ(machine.misuse(), "");
  EXPECT_EQ(machine.bytes_in_use(), 0U);
}

TEST(GroupbyCuda, DoesWhatTheHostDoes) {
  check({"sum", "prod", "min", "max", "mean", "var", "std", "count", "nansum", "nanprod", "nanmin",
         "nanmax", "nanmean", "nanvar", "nanstd"},
        DType::kFloat32);
  check({"sum", "max", "mean", "nanmean", "count"}, DType::kFloat64);
  check({"sum", "min", "mean", "var", "count"}, DType::kInt16);
  check({"sum", "max", "mean"}, DType::kUInt64);
  check({"sum", "mean", "count"}, DType::kBool);
  check({"sum", "mean", "var", "count"}, DType::kComplex64);
}

// Sums of many elements are added in blocks, so that their error does not grow with their number.
TEST(GroupbyCuda, LongSumsStayExact) {
  SimulatedCuda machine;
  scheduler::Seams seams;
  seams.cuda = &machine.api();
  Session session = seams.open(ample("cuda:0"));
  const SessionScope scope(session);
  const Array x = full({400000}, 0.1F, {.dtype = DType::kFloat32}) + 0.0F;
  const std::vector<std::int64_t> labels(400000, 0);
  const HostArray got = groupby_reduce(x, labels, "sum").compute();
  EXPECT_EQ(got.span<float>()[0], static_cast<float>(400000.0 * static_cast<double>(0.1F)));
}

}  // namespace
}  // namespace tessera::testing
