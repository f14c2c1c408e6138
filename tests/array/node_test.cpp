#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "array/node.hpp"
#include "expect_refusal.hpp"
#include "graph_reference.hpp"

namespace tessera {
namespace {

Array chain(Array x, int length) {
  for (int i = 0; i < length; ++i) x = add(x, 1);
  return x;
}

TEST(Node, FreesAChainOfAMillionNodesWithoutRecursion) {
  Array x = chain(zeros({4}), 1'000'000);
  EXPECT_EQ(x.shape(), Shape{4});
  x = zeros({1});
}

TEST(Node, FreesChainsSharedByThreads) {
  // Each thread drops its handle at the same moment; whoever is last frees the trunk.
  for (int round = 0; round < 20; ++round) {
    const int count = 4;
    std::vector<Array> tips;
    {
      const Array trunk = chain(zeros({4}), 5'000);
      for (int i = 0; i < count; ++i) tips.push_back(chain(trunk, 100));
    }
    const std::weak_ptr<const array::Node> root = tips[0].node();
    std::atomic<int> ready = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < count; ++i) {
      threads.emplace_back([&, tip = std::move(tips[static_cast<std::size_t>(i)])]() mutable {
        ++ready;
        while (ready < count) std::this_thread::yield();
        tip = zeros({1});
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_TRUE(root.expired());
  }
}

TEST(Node, KeepsWhatOthersStillRead) {
  const Array trunk = chain(zeros({4}), 10);
  { const Array tip = chain(trunk, 10); }
  EXPECT_EQ(testing::evaluate(trunk).data, std::vector<double>(4, 10.0));
}

TEST(Node, RemembersTheLineOfTheCall) {
  const Array x = zeros({2});
  const auto line = static_cast<std::uint32_t>(__LINE__);
  const Array sum = 1.0 + x;
  const Array reduced = mean(x);
  const Array view = transpose(zeros({2, 3}));
  EXPECT_EQ(sum.node()->line, line + 1);
  EXPECT_EQ(reduced.node()->line, line + 2);
  EXPECT_EQ(view.node()->line, line + 3);
  EXPECT_EQ(array::origin(*sum.node()), "node_test.cpp:" + std::to_string(line + 1));
  const Array index = (x + x)[{0}];
  EXPECT_EQ(array::origin(*index.node()), "node_test.cpp:" + std::to_string(line + 8));
  EXPECT_EQ(x[{}].shape(), x.shape());
}

TEST(Node, NormalizesAxes) {
  EXPECT_EQ(array::normalize_axis(-1, 3, "op"), 2);
  EXPECT_EQ(array::normalize_axes({}, 2, "op"), (std::vector<bool>{true, true}));
  EXPECT_EQ(array::normalize_axes(std::vector<int>{}, 2, "op"), (std::vector<bool>{false, false}));
  EXPECT_EQ(array::normalize_axes({0, -1}, 3, "op"), (std::vector<bool>{true, false, true}));
  EXPECT_REFUSED(array::normalize_axis(3, 3, "op"),
                 "[op] an axis must lie in [-ndim, ndim); got axis 3 for an array of 3 axes");
  EXPECT_REFUSED(array::normalize_axis(0, 0, "op"),
                 "[op] an axis must lie in [-ndim, ndim); got axis 0 for an array of 0 axes");
  EXPECT_REFUSED(array::normalize_axes({0, -2}, 2, "op"),
                 "[op] axes must differ; got (0, -2) for an array of 2 axes");
}

TEST(Node, CastsOnlyWhenTheDtypeDiffers) {
  const Array x = zeros({2, 3}, {.dtype = float32});
  EXPECT_EQ(astype(x, float32).node(), x.node());
  EXPECT_EQ(astype(x, int8).dtype(), int8);
  EXPECT_REFUSED(astype(astype(x, complex64), float64),
                 "[astype] complex numbers do not convert to real ones; got complex64 to float64; "
                 "try real() or abs() of it");
  EXPECT_EQ(astype(astype(x, complex64), bool_).dtype(), bool_);
}

TEST(HostArray, ChecksTypesAndSizes) {
  const std::shared_ptr<std::byte[]> memory = std::make_shared<std::byte[]>(24);
  const std::shared_ptr<std::byte> data(memory, memory.get());
  HostArray x({2, 3}, int32, data);
  x.span<std::int32_t>()[5] = 7;
  EXPECT_EQ(x.strides(), (std::vector<std::int64_t>{3, 1}));
  EXPECT_EQ(x.nbytes(), 24u);
  EXPECT_REFUSED(x.span<float>(),
                 "[HostArray] the element type must be the array's dtype; got float32 for an array "
                 "of int32; try astype before compute()");
  EXPECT_REFUSED(
      x.item<double>(),
      "[item] the array must have one element; got shape (2, 3); try span() or an index");
  EXPECT_EQ(
      HostArray({1, 1}, int32, std::shared_ptr<std::byte>(data, data.get() + 20)).item<double>(),
      7.0);
}

}  // namespace
}  // namespace tessera
