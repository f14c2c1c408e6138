#include "device/worker_pool.hpp"

#include <gtest/gtest.h>

#include <atomic>

#include "device/host/host_stream.hpp"
#include "device/host_devices.hpp"
#include "tessera/error.hpp"

namespace tessera::device {
namespace {

struct CountingJob final : WorkerPool::Job {
  void help(int worker) noexcept override {
    EXPECT_GE(worker, 1);
    ++calls;
  }
  std::atomic<int> calls{0};
};

TEST(WorkerPool, EachInvitationIsOneCall) {
  WorkerPool pool(3);
  CountingJob job;
  for (int i = 0; i < 1000; ++i) pool.invite(job, 2);
  while (job.calls < 2000) std::this_thread::yield();
  pool.dismiss(job);
  EXPECT_EQ(job.calls, 2000);
}

TEST(WorkerPool, NobodyEntersAJobThatWasDismissed) {
  WorkerPool pool(2);
  for (int i = 0; i < 500; ++i) {
    auto job = std::make_unique<CountingJob>();
    pool.invite(*job, 3);
    pool.dismiss(*job);
    EXPECT_LE(job->calls, 3);
  }
}

TEST(WorkerPool, EndsWithInvitationsLeft) {
  CountingJob job;
  WorkerPool pool(2);
  pool.invite(job, 100);
}

struct NumberedWork final : Work {
  void run(Queue*) override {
    order->push_back(number);
    if (number % 3 == 0) throw IoError("[test] a failure");
  }
  void done(const Event& event) noexcept override {
    failed = event.failure() != nullptr;
    ++*ended;
  }
  int number = 0;
  bool failed = false;
  std::vector<int>* order = nullptr;
  std::atomic<int>* ended = nullptr;
};

TEST(HostStream, WorksInOrderAndItsEventsCarryFailures) {
  std::vector<int> order;
  std::atomic<int> ended{0};
  std::vector<NumberedWork> works(300);
  {
    HostStream stream;
    for (int i = 0; i < 300; ++i) {
      NumberedWork& work = works[static_cast<std::size_t>(i)];
      work.number = i;
      work.order = &order;
      work.ended = &ended;
      stream.submit(work);
    }
  }
  ASSERT_EQ(ended, 300);
  for (int i = 0; i < 300; ++i) {
    EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
    EXPECT_EQ(works[static_cast<std::size_t>(i)].failed, i % 3 == 0);
  }
}

TEST(HostDevices, HaveTheirOwnBudgetsAndShareTheWorkers) {
  HostDevicesOptions options;
  options.count = 3;
  options.device_budget_bytes = 1000;
  options.host_budget_bytes = 2000;
  options.workers = 2;
  HostDevices devices(options);
  ASSERT_EQ(devices.devices().size(), 3u);
  EXPECT_EQ(to_string(devices.devices()[2].id), "host:2");
  EXPECT_EQ(devices.workers(), 2);
  Buffer a = devices.pool(0).allocate(900);
  Buffer b = devices.pool(1).allocate(900);
  EXPECT_THROW(devices.pool(0).allocate(200), OutOfMemory);
  Buffer c = devices.host_tier().allocate(1900);
  EXPECT_EQ(devices.bytes_in_use(), 3700u);
  options.count = 0;
  EXPECT_THROW(HostDevices{options}, InvalidArgument);
}

}  // namespace
}  // namespace tessera::device
