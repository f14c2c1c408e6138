#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <sstream>

#include "tessera/tessera.hpp"

// What is computed follows from the expression and the chunk grids alone. Here the same workloads
// run on other numbers of devices and workers, within budgets that make blocks move to the host and
// to disk, with and without fusion and in other orders, and must give the same bytes.

namespace tessera {
namespace {

constexpr std::size_t kKiB = 1024;

struct Workload {
  std::string name;
  std::function<std::vector<Array>()> make;
  std::size_t tight_bytes = 512 * kKiB;  ///< enough for the largest task, too little for all blocks
};

Array base() { return random::normal({150, 150}, {.chunks = {40, 64}, .seed = 7}); }
Array narrow() {
  return random::normal({150, 90}, {.chunks = {40, 32}, .seed = 8, .dtype = DType::kFloat32});
}

std::vector<std::int64_t> labels(std::int64_t count) {
  std::vector<std::int64_t> out;
  for (std::int64_t i = 0; i < count; ++i) out.push_back((i * 7 + i / 5) % 9 - 1);
  return out;
}

void blur(const InputBlock& in, const OutputBlock& out) {
  const auto* from = in.as<double>();
  auto* to = out.as<double>();
  for (std::int64_t i = 0; i < out.shape[0]; ++i) {
    for (std::int64_t j = 0; j < out.shape[1]; ++j) {
      double sum = 0;
      for (std::int64_t di = -2; di <= 2; ++di) {
        for (std::int64_t dj = -1; dj <= 1; ++dj) {
          const std::int64_t r = out.start[0] - in.start[0] + i + di;
          const std::int64_t c = out.start[1] - in.start[1] + j + dj;
          sum += from[r * in.strides[0] + c * in.strides[1]] *
                 (1.0 + 0.1 * static_cast<double>(di + 3 * dj));
        }
      }
      to[i * out.strides[0] + j * out.strides[1]] = sum;
    }
  }
}

const std::vector<Workload>& workloads() {
  static const std::vector<Workload> all = {
      {"x + x.T - mean(x, 0)",
       [] {
         const Array x = base();
         return std::vector<Array>{x + transpose(x) - mean(x, {.axis = 0})};
       }},
      {"std(matmul(x, x.T + 1) - mean(x))",
       [] {
         const Array x = base();
         return std::vector<Array>{std(matmul(x, transpose(x) + 1.0) - mean(x))};
       }},
      {"matmul(x, x.T)",
       [] {
         const Array x = narrow();
         return std::vector<Array>{matmul(x, transpose(x)), matmul(transpose(x), x)};
       },
       128 * kKiB},
      {"products of many blocks",
       [] {
         // 256 blocks and more: each accumulates all of k in one chain.
         const Array x = random::normal({68, 24}, {.chunks = {4, 8}, .seed = 11});
         const Array y = random::normal({24, 68}, {.chunks = {8, 4}, .seed = 12});
         const Array wide = random::normal({92, 24}, {.chunks = {4, 8}, .seed = 13});
         return std::vector<Array>{matmul(x, y),
                                   matmul(x, y) + 1.0,
                                   matmul(wide, transpose(wide)),
                                   rechunk(matmul(x, y), {10, 68}),
                                   cumulative_sum(matmul(x, y), {.axis = 0}),
                                   sort(rechunk_axes(matmul(x, y), {{1, -1}}))};
       },
       192 * kKiB},
      {"cumulative sums",
       [] {
         const Array x = base();
         return std::vector<Array>{cumulative_sum(x, {.axis = 0}),
                                   cumulative_sum(exp(x), {.axis = 1}), cumulative_sum(ravel(x)),
                                   cumulative_prod(narrow() * 0.01f + 1.0f, {.axis = 0})};
       }},
      {"rechunk and reshape",
       [] {
         const Array x = base();
         return std::vector<Array>{rechunk(sin(x), {17, 150}),
                                   reshape(rechunk(x, {150, 11}) + 1.0, {50, 450}),
                                   sum(rechunk(exp(x), {13, 70}), {.axis = 0})};
       }},
      {"programs that read arrays cut otherwise, and compute values twice",
       [] {
         const Array x = base();
         const Array y = rechunk(x + 1.0, {43, 50});
         const Array centred = y - mean(y, {.axis = 0, .keepdims = true});
         const Array twice = centred * 0.5 + y;
         std::vector<Array> out{twice + transpose(twice),
                                rechunk(twice + transpose(twice), {30, 61}),
                                rechunk(transpose(x), {30, 61}) * 2.0,
                                rechunk(flip(x) + x, {70, 29}) - y,
                                rechunk(diagonal(x + y), {19}) + 1.0,
                                rechunk(diagonal(x * y), {19}),
                                broadcast_to(rechunk(sum(y, {.axis = 0}), {40}), {150, 150}) + y};
         for (const Axes& axis : {Axes(), Axes(0), Axes(1)}) {
           out.push_back(sum(rechunk(twice + transpose(twice), {30, 61}), {.axis = axis}));
           out.push_back(var(rechunk(flip(x), {70, 29}) - y, {.axis = axis}));
         }
         return out;
       }},
      {"groupby",
       [] {
         const Array x = base();
         return std::vector<Array>{groupby_reduce(exp(x), labels(150), "mean", {.axis = 0}),
                                   groupby_reduce(x, labels(150), "var", {.axis = 1}),
                                   groupby_reduce(narrow(), labels(150), "sum", {.axis = 0})};
       },
       160 * kKiB},
      {"var, argmax and others",
       [] {
         const Array x = exp(narrow()) * 3.0f;
         return std::vector<Array>{var(x),
                                   var(x, {.axis = 0}),
                                   var(x, {.axis = 1}),
                                   argmax(x),
                                   argmin(x, {.axis = 0}),
                                   prod(x * 0.5f, {.axis = 1}),
                                   norm(x),
                                   sum(x),
                                   mean(x, {.axis = 1})};
       },
       1024 * kKiB},
      {"reductions of transposed and broadcast operands",
       [] {
         const Array x = base();
         const Array row = random::normal({150}, {.chunks = {64}, .seed = 9});
         const Array column = expand_dims(random::normal({150}, {.chunks = {33}, .seed = 10}), 1);
         std::vector<Array> out;
         for (const Array& v : {x + transpose(x), x * row, x - column, transpose(x) * row + column,
                                flip(x) - transpose(x), broadcast_to(exp(row), {150, 150}) * 1.0}) {
           for (const Axes& axis : {Axes(), Axes(0), Axes(1)}) {
             out.push_back(sum(v, {.axis = axis}));
             out.push_back(var(v, {.axis = axis}));
           }
           out.push_back(argmax(v));
           out.push_back(argmax(v, {.axis = 0}));
         }
         return out;
       },
       1024 * kKiB},
      {"reductions of views alone",
       [] {
         const Array x = base();
         std::vector<Array> out;
         for (const Array& v : {transpose(x), flip(x, 0), x[{Slice{3, 140, 3}, Slice{149, 2, -2}}],
                                transpose(x[{Slice{}, 5}] + 0.5)}) {
           out.push_back(sum(v));
           out.push_back(sum(v, {.axis = 0}));
           out.push_back(var(v));
         }
         return out;
       },
       1024 * kKiB},
      {"reductions of three axes",
       [] {
         const Array x = random::normal(
             {30, 20, 25}, {.chunks = {8, 20, 9}, .seed = 3, .dtype = DType::kFloat32});
         const Array v =
             x * transpose(random::normal({25, 20, 30}, {.chunks = {10, 7, 8}, .seed = 4}));
         std::vector<Array> out;
         for (const Axes& axis :
              {Axes(), Axes(0), Axes(1), Axes(2), Axes({0, 1}), Axes({0, 2}), Axes({1, 2})}) {
           out.push_back(sum(v, {.axis = axis}));
           out.push_back(var(v, {.axis = axis}));
           out.push_back(mean(x, {.axis = axis}));
         }
         return out;
       },
       1024 * kKiB},
      {"reductions of blocks of several tiles",
       [] {
         const Array x = random::normal({300, 700}, {.chunks = {130, 700}, .seed = 5});
         const Array y = random::normal(
             {700, 300}, {.chunks = {700, 170}, .seed = 6, .dtype = DType::kFloat32});
         const Array z = random::normal({6, 50, 10, 70}, {.chunks = {6, 50, 10, 33}, .seed = 7});
         std::vector<Array> out;
         for (const Array& v : {x + transpose(y), flip(transpose(y), 1) * x,
                                y - expand_dims(mean(x, {.axis = 0}), 1)}) {
           for (const Axes& axis : {Axes(), Axes(0), Axes(1)}) {
             out.push_back(sum(v, {.axis = axis}));
             out.push_back(std(v, {.axis = axis}));
             out.push_back(norm(v, {.axis = axis}));
             out.push_back(sum(astype(v, DType::kComplex64), {.axis = axis}));
           }
         }
         const Array w = transpose(z, std::vector<int>{2, 3, 0, 1}) *
                         transpose(z, std::vector<int>{2, 3, 0, 1});
         for (const Axes& axis : {Axes(), Axes({0, 2}), Axes({1, 3}), Axes(2), Axes({0, 1, 2})}) {
           out.push_back(sum(w, {.axis = axis}));
           out.push_back(var(w, {.axis = axis}));
         }
         return out;
       },
       8192 * kKiB},
      {"map_overlap",
       [] {
         const Array x = cumulative_sum(base(), {.axis = 0});
         const Array y = map_overlap(x, blur,
                                     {.depth = {2, 1},
                                      .boundary = {Boundary::kPeriodic, Boundary::kReflect},
                                      .pure = true});
         return std::vector<Array>{y, y + transpose(x)};
       },
       256 * kKiB},
      {"random and elementwise chain",
       [] {
         const Array x = base();
         const Array u = random::uniform({150, 150}, {.chunks = {40, 64}, .seed = 5});
         return std::vector<Array>{
             sqrt(abs(sin(x * 2.0) / (u + 1.0))) + log1p(u) * where(x > 0, x, u),
             random::integers(0, 1000, {150, 70}, {.chunks = {31, 70}, .seed = 6})};
       }},
      {"tensordot",
       [] {
         const Array a = random::normal({30, 20, 25}, {.chunks = {8, 6, 9}, .seed = 3});
         const Array b = random::normal({20, 25, 14}, {.chunks = {6, 9, 5}, .seed = 4});
         return std::vector<Array>{tensordot(a, b), einsum("ijk,jkl->il", {a, b})};
       },
       160 * kKiB},
      {"sort and topk",
       [] {
         const Array x = rechunk_axes(base(), {{1, -1}});
         const TopK top = topk(base(), 7, 0);
         return std::vector<Array>{
             sort(x), argsort(x, {.descending = true}), top.values, top.indices,
             histogram(x, {.bins = 13, .range = std::pair{-2.0, 2.0}}).counts};
       }},
  };
  return all;
}

std::vector<HostArray> run(const Workload& workload, const SessionOptions& options,
                           RunReport* report = nullptr) {
  Session session(options);
  std::vector<HostArray> out = session.compute(workload.make());
  if (report != nullptr) *report = session.last_run();
  return out;
}

SessionOptions plain() {
  SessionOptions options;
  options.devices = "host";
  options.workers = 1;
  options.fuse = true;
  options.device_memory_bytes = 256 * kKiB * kKiB;
  options.host_memory_bytes = 64 * kKiB * kKiB;
  options.disk_memory_bytes = 0;
  return options;
}

void expect_same(const std::vector<HostArray>& wanted, const std::vector<HostArray>& got,
                 const std::string& what) {
  ASSERT_EQ(wanted.size(), got.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(wanted[i].nbytes(), got[i].nbytes()) << what;
    EXPECT_EQ(std::memcmp(wanted[i].data(), got[i].data(), got[i].nbytes()), 0)
        << what << ", result " << i;
  }
}

class EngineBits : public ::testing::TestWithParam<std::size_t> {
 protected:
  const Workload& workload() const { return workloads()[GetParam()]; }
};

TEST_P(EngineBits, SameForAnyDevicesAndWorkers) {
  const std::vector<HostArray> wanted = run(workload(), plain());
  for (const char* devices : {"host:1", "host:2", "host:3", "host:8"}) {
    for (int workers : {1, 2, 5}) {
      SessionOptions options = plain();
      options.devices = devices;
      options.workers = workers;
      expect_same(
          wanted, run(workload(), options),
          workload().name + " on " + devices + " with " + std::to_string(workers) + " workers");
    }
  }
}

TEST_P(EngineBits, SameWithoutFusion) {
  SessionOptions options = plain();
  options.fuse = false;
  expect_same(run(workload(), plain()), run(workload(), options), workload().name + " unfused");
}

TEST_P(EngineBits, SameInAnyOrder) {
  const std::vector<HostArray> wanted = run(workload(), plain());
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SessionOptions options = plain();
    options.devices = seed % 2 == 0 ? "host:3" : "host";
    options.workers = 2;
    options.shuffle_seed = seed;
    expect_same(wanted, run(workload(), options),
                workload().name + " shuffled by " + std::to_string(seed));
  }
}

TEST_P(EngineBits, SameWithinTightBudgets) {
  const std::vector<HostArray> wanted = run(workload(), plain());
  std::size_t to_host = 0;
  std::size_t to_disk = 0;
  for (const std::size_t host : {std::size_t{0}, 160 * kKiB, 4096 * kKiB}) {
    for (const char* devices : {"host:1", "host:2"}) {
      for (const bool fuse : {true, false}) {
        SessionOptions options = plain();
        options.devices = devices;
        options.fuse = fuse;
        options.workers = 2;
        options.device_memory_bytes = workload().tight_bytes;
        options.host_memory_bytes = host;
        options.disk_memory_bytes = 64 * kKiB * kKiB;
        RunReport report;
        expect_same(
            wanted, run(workload(), options, &report),
            workload().name + " on " + devices + " with a host tier of " + std::to_string(host));
        for (const std::size_t peak : report.peak_device_bytes)
          EXPECT_LE(peak, workload().tight_bytes);
        to_host += report.to_host_bytes;
        to_disk += report.to_disk_bytes;
      }
    }
  }
  EXPECT_GT(to_host, 0U) << "nothing was spilled: the budget is not tight";
  EXPECT_GT(to_disk, 0U) << "nothing was spilled: the budget is not tight";
}

INSTANTIATE_TEST_SUITE_P(Workloads, EngineBits,
                         ::testing::Range<std::size_t>(0, workloads().size()),
                         [](const auto& info) {
                           std::string out;
                           for (const char c : workloads()[info.param].name)
                             out += std::isalnum(c) != 0 ? c : '_';
                           return out;
                         });

// All workloads at once do not fit: blocks must have gone to both tiers, or the test above shows
// nothing.
TEST(EngineBitsAll, TightBudgetsReachBothTiers) {
  const Workload all{"all", [] {
                       std::vector<Array> out;
                       for (const Workload& w : workloads()) {
                         if (w.tight_bytes > 1024 * kKiB) continue;
                         for (const Array& a : w.make()) out.push_back(a);
                       }
                       return out;
                     }};
  const std::vector<HostArray> wanted = run(all, plain());
  SessionOptions options = plain();
  options.device_memory_bytes = 1024 * kKiB;
  options.host_memory_bytes = 128 * kKiB;
  options.disk_memory_bytes = 256 * kKiB * kKiB;
  RunReport report;
  expect_same(wanted, run(all, options, &report), "all workloads in one run");
  EXPECT_GT(report.to_host_bytes, 0U);
  EXPECT_GT(report.to_disk_bytes, 0U);
  EXPECT_GT(report.from_disk_bytes, 0U);
}

// Other chunks may change sums, never draws, elementwise results, integers or the order of
// elements.
TEST(EngineBitsAll, DrawsAndElementwiseResultsForAnyChunks) {
  std::vector<HostArray> wanted;
  for (const Chunks& chunks : {Chunks{-1, -1}, Chunks{1, 97}, Chunks{13, 50}, Chunks{61, 7}}) {
    const Array x = random::normal({61, 97}, {.chunks = chunks, .seed = 1});
    const Array f =
        random::uniform({61, 97}, {.chunks = chunks, .seed = 2, .dtype = DType::kFloat32});
    const Array e = random::exponential({61, 97}, {.chunks = chunks, .seed = 3});
    const Array i = random::integers(-5, 1'000'000'007, {61, 97}, {.chunks = chunks, .seed = 4});
    const std::vector<Array> arrays = {x,
                                       f,
                                       e,
                                       i,
                                       sin(x) * exp(f) + transpose(reshape(e, {97, 61})),
                                       sum(i),
                                       max(x),
                                       argmax(x),
                                       cumulative_sum(i, {.axis = 1}),
                                       sort(rechunk_axes(x, {{1, -1}})),
                                       pow(abs(x), f),
                                       tanh(f) / 3.0f,
                                       roll(x, {3, -5}, Axes{0, 1})};
    const std::vector<HostArray> got = compute(arrays);
    if (wanted.empty()) wanted = got;
    expect_same(wanted, got, "chunks " + x.chunks().to_string());
  }
}

}  // namespace
}  // namespace tessera
