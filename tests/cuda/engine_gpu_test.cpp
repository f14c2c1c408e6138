#include <gtest/gtest.h>

#include <cctype>

#include "tessera/tessera.hpp"
#include "tests/cuda/engine_on_cuda.hpp"
#include "tests/scheduler/on_ranks.hpp"

// The engine on the GPUs of this machine, against its host devices.

namespace tessera::testing {
namespace {

std::vector<Workload> all_workloads() {
  std::vector<Workload> all = workloads();
  all.insert(all.end(), more_workloads().begin(), more_workloads().end());
  all.insert(all.end(), many_kernels().begin(), many_kernels().end());
  return all;
}

std::string why_no_gpu() {
  std::string problem;
  if (device::find_cuda(problem) != nullptr) return {};
  return problem.empty() ? "no CUDA device" : problem;
}

class EngineGpu : public ::testing::TestWithParam<std::size_t> {
 protected:
  void SetUp() override {
    static const std::string problem = why_no_gpu();
    if (!problem.empty()) GTEST_SKIP() << problem;
  }
  const Workload& workload() const {
    static const std::vector<Workload> all = all_workloads();
    return all[GetParam()];
  }
};

TEST_P(EngineGpu, ComputesWhatTheHostDoes) {
  const scheduler::Seams seams;
  expect_close(run_on(seams, ample("host"), workload()), run_on(seams, ample("cuda:0"), workload()),
               workload().name);
}

TEST_P(EngineGpu, SameBitsWithinTightBudgetsAndUnfused) {
  const scheduler::Seams seams;
  SessionOptions fused = ample("cuda:0");
  const std::vector<HostArray> wanted = run_on(seams, fused, workload());
  expect_same_bits(wanted, run_on(seams, fused, workload()), workload().name + " once more");
  for (const bool fuse : {true, false}) {
    SessionOptions options = ample("cuda:0");
    options.fuse = fuse;
    expect_same_bits(wanted, run_on(seams, options, workload()), workload().name + " unfused");
    options.device_memory_bytes = 2 * workload().tight_bytes;
    options.host_memory_bytes = std::size_t{160} << 10;
    options.disk_memory_bytes = std::size_t{256} << 20;
    expect_same_bits(wanted, run_on(seams, options, workload()),
                     workload().name + " within a tight budget");
  }
}

// With one GPU both share it and its blocks go through the hosts; with more they link them.
TEST_P(EngineGpu, SameBitsOnTwoRanks) {
  const std::vector<HostArray> wanted = run_on(scheduler::Seams(), ample("cuda:0"), workload());
  const auto outcomes = on_ranks(2, ample("cuda:*"), [&](int, Session& session) {
    std::vector<std::vector<HostArray>> out;
    for (int i = 0; i < 2; ++i) out.push_back(session.compute(workload().make()));
    return out;
  });
  for (const auto& outcome : outcomes) {
    ASSERT_EQ(outcome.error, "") << workload().name;
    for (const auto& arrays : outcome.value)
      expect_same_bits(wanted, arrays, workload().name + " on two ranks");
  }
}

TEST(EngineGpuAccuracy, FunctionsAreWithinTheirBounds) {
  if (const std::string problem = why_no_gpu(); !problem.empty()) GTEST_SKIP() << problem;
  expect_within_bounds(scheduler::Seams(), "cuda:0");
}

TEST(EngineGpuMemory, BlocksGoOutAndInAgain) {
  if (const std::string problem = why_no_gpu(); !problem.empty()) GTEST_SKIP() << problem;
  Session session(ample("cuda:0"));
  const SessionScope scope(session);
  const Array x = random::normal({900, 700}, {.chunks = {250, 700}, .seed = 4});
  const HostArray wanted = (x.T() * 2.0).compute();
  std::vector<Array> parts;
  for (const DeviceBlock& block : compute_blocks(x)) {
    EXPECT_TRUE(block.on_cuda);
    parts.push_back(from_cuda(block.memory.get(), block.dtype, block.shape,
                              {.owner = block.memory, .stream = nullptr}));
  }
  const HostArray got = (concatenate(parts).T() * 2.0).compute();
  expect_same_bits({wanted}, {got}, "blocks that were out");
  EXPECT_THROW(from_cuda(got.span<double>().data(), {700, 900}), InvalidArgument);
}

INSTANTIATE_TEST_SUITE_P(Workloads, EngineGpu,
                         ::testing::Range<std::size_t>(0, all_workloads().size()),
                         [](const auto& info) {
                           std::string out;
                           const std::string name = all_workloads()[info.param].name;
                           for (const char c : name)
                             out += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
                           return out;
                         });

}  // namespace
}  // namespace tessera::testing
