#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <sstream>

#include "tessera/tessera.hpp"

// The plans of typical expressions, as text. A change of fusion, placement of views or merge trees
// shows here. TESSERA_UPDATE_GOLDEN=1 writes the files anew.

namespace tessera {
namespace {

struct Golden {
  std::string name;
  std::function<Array()> make;
};

Array base() { return random::normal({300, 200}, {.chunks = {64, 50}, .seed = 1}); }

const std::vector<Golden>& goldens() {
  static const std::vector<Golden> all = {
      {"chain",
       [] { return sqrt(abs(base() * 2.0 + 1.0)) - sin(arange(200.0, {.chunks = Chunks{50}})); }},
      {"transpose_and_mean",
       [] {
         const Array x = random::normal({200, 200}, {.chunks = {64, 64}, .seed = 1});
         return x + transpose(x) - mean(x, {.axis = 0});
       }},
      {"matmul_std",
       [] {
         const Array x = base();
         return std(matmul(x, transpose(x) + 1.0) - mean(x));
       }},
      {"fused_reductions",
       [] { return var(exp(base()), {.axis = 1}) + sum(base() * base(), {.axis = 1}); }},
      {"scan",
       [] { return cumulative_sum(base(), {.axis = 0}) + cumulative_sum(base(), {.axis = 1}); }},
      {"rechunk_and_reshape",
       [] {
         return reshape(rechunk(base() + 1.0, {300, 10}), {600, 100});
       }},
      {"rechunk_between_programs",
       [] {
         const Array x = random::normal({200, 200}, {.chunks = {50, 50}, .seed = 1});
         const Array y = rechunk(x * 2.0, {100, 25});
         const Array z = y - mean(y, {.axis = 0, .keepdims = true});
         return sum(rechunk(z + transpose(z), {50, 50}), {.axis = 1});
       }},
      {"mean_of_single_steps",
       [] {
         const Array x = random::normal({10, 200}, {.chunks = {1, 200}, .seed = 1});
         return mean(sort(x), {.axis = 0});
       }},
      {"diagonal", [] { return diagonal(base(), {.offset = 3}) * 2.0; }},
      {"groupby_and_sort",
       [] {
         const std::vector<std::int64_t> labels(300, 0);
         return sort(rechunk_axes(groupby_reduce(base(), labels, "mean"), {{1, -1}}));
       }},
  };
  return all;
}

class EnginePlan : public ::testing::TestWithParam<std::size_t> {};

TEST_P(EnginePlan, IsAsRecorded) {
  const Golden& golden = goldens()[GetParam()];
  std::string text;
  for (const bool fuse : {true, false}) {
    SessionOptions options;
    options.devices = "host";
    options.workers = 1;
    options.fuse = fuse;
    options.device_memory_bytes = std::size_t{1} << 28;
    options.host_memory_bytes = 0;
    options.disk_memory_bytes = 0;
    Session session(options);
    text += (fuse ? "fused: " : "not fused: ") + session.explain({golden.make()});
  }
  const std::string path = std::string(TESSERA_GOLDEN_DIR) + "/" + golden.name + ".txt";
  if (std::getenv("TESSERA_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(path) << text;
    return;
  }
  std::ifstream file(path);
  ASSERT_TRUE(file.good()) << path;
  std::ostringstream recorded;
  recorded << file.rdbuf();
  EXPECT_EQ(text, recorded.str()) << "run with TESSERA_UPDATE_GOLDEN=1 if this plan is meant to be";
}

INSTANTIATE_TEST_SUITE_P(Plans, EnginePlan, ::testing::Range<std::size_t>(0, goldens().size()),
                         [](const auto& info) { return goldens()[info.param].name; });

}  // namespace
}  // namespace tessera
