#include <gtest/gtest.h>

#include <filesystem>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "failing_allocator.hpp"
#include "failing_registry.hpp"
#include "failing_transport.hpp"
#include "fault_workloads.hpp"
#include "faulty_file_system.hpp"
#include "sanitizers.hpp"
#include "scheduler/seams.hpp"
#include "tessera/tessera.hpp"

// Whole computations of every family, on two devices that spill to both tiers, in which the n-th
// allocation, system call, copy or kernel fails, for every n: an error that names the place,
// nothing left behind, and a session that computes the same bits as before.

namespace tessera {
namespace {

using testing::Bytes;
using testing::stopping;
using testing::take_saved;
using testing::Workload;

enum class Kind { kAllocation, kNoMemory, kSystemCall, kFullDisk, kCopy, kKernel, kStop };
constexpr const char* kNames[] = {"allocation", "no memory", "system call", "full disk",
                                  "copy",       "kernel",    "stop"};

/// A session on seams of which one fails when told to.
class FaultySession {
 public:
  FaultySession(const SessionOptions& options, Kind kind)
      : kind_(kind), allocator_(0, kind == Kind::kNoMemory) {
    seams_.allocator = &allocator_;
    seams_.files = &files_;
    seams_.transport = &transport_;
    seams_.kernels = &kernels_;
    session_.emplace(seams_.open(options));
  }
  ~FaultySession() {
    session_.reset();
    EXPECT_EQ(allocator_.held(), 0U);
  }

  Session& session() { return *session_; }
  /// The n-th from now on fails; 0: none.
  void fail_at(std::uint64_t nth) {
    allocator_.fail_at(kind_ == Kind::kAllocation || kind_ == Kind::kNoMemory ? nth : 0);
    const bool files = kind_ == Kind::kSystemCall || kind_ == Kind::kFullDisk;
    files_.arm(
        {files ? nth : 0, kind_ == Kind::kFullDisk ? ENOSPC : EIO, kind_ == Kind::kFullDisk});
    transport_.fail_at(kind_ == Kind::kCopy ? nth : 0);
    kernels_.fail_at(kind_ == Kind::kKernel ? nth : 0);
    stopping = {};
    if (kind_ == Kind::kStop) kernels_.call_at(nth, [] { stopping.request_stop(); });
  }
  /// Makes the pools ask for memory again.
  void trim() {
    const device::HostDevices& devices = scheduler::Seams::devices(*session_);
    for (const device::Device& device : devices.devices()) device.pool->trim(0);
    devices.host_tier().trim(0);
  }
  /// Allocations, calls, copies since then.
  std::uint64_t count() const {
    switch (kind_) {
      case Kind::kAllocation:
      case Kind::kNoMemory:
        return allocator_.requests();
      case Kind::kCopy:
        return transport_.copies();
      case Kind::kKernel:
      case Kind::kStop:
        return kernels_.calls();
      default:
        return files_.calls();
    }
  }
  std::size_t bytes_in_use() const { return scheduler::Seams::devices(*session_).bytes_in_use(); }

 private:
  const Kind kind_;
  device::FailingAllocator allocator_;
  core::FaultyFileSystem files_;
  comm::FailingTransport transport_;
  kernels::FailingRegistry kernels_;
  scheduler::Seams seams_;
  std::optional<Session> session_;
};

class EngineNthFault : public ::testing::TestWithParam<Workload> {
 protected:
  EngineNthFault() {
    const bool memory = std::filesystem::is_directory("/dev/shm");
    std::string name = (memory ? "/dev/shm" : ::testing::TempDir()) + "/tessera_fault_XXXXXX";
    folder_ = mkdtemp(name.data());
    std::filesystem::create_directory(folder_ + "/spill");
    options_.devices = "host:2";
    options_.workers = 2;
    options_.host_memory_bytes = std::size_t{64} << 20;
    options_.disk_memory_bytes = std::size_t{64} << 20;
    options_.spill_dir = folder_ + "/spill";
    make_tight();
  }
  ~EngineNthFault() override { std::filesystem::remove_all(folder_); }

  // Fills the devices, so that what is computed must make room.
  static Array earlier() { return arange(0.0, 65536.0, 1.0, {.chunks = {4096}}); }
  static constexpr double kEarlierSum = 65535.0 * 32768.0;
  Bytes run_in(Session& session) const {
    const SessionScope scope(session);
    return GetParam().run(folder_);
  }
  enum class FaultOutcome { kFailed, kAbsorbed, kNotReached };
  void every(Kind kind);
  FaultOutcome one(Kind kind, std::uint64_t nth, FaultySession& faulty);
  void check_error(Kind kind, const Error& error) const;

  std::string folder_;
  SessionOptions options_;
  Bytes expected_;

 private:
  // The smallest budget that every task fits, and a host tier that takes two blocks or so.
  void make_tight();
  bool fits(std::size_t& budget, const Bytes& expected);
};

void EngineNthFault::make_tight() {
  // Found once for each workload.
  static std::map<std::string, std::pair<std::size_t, Bytes>> known;
  auto& [budget, expected] = known[GetParam().name];
  options_.device_memory_bytes = std::size_t{16} << 20;
  if (budget == 0) {
    Session session(options_);
    expected = run_in(session);
    budget = 512;
    while (!fits(budget, expected)) {
    }
  }
  expected_ = expected;
  options_.device_memory_bytes = budget;
  options_.host_memory_bytes = std::size_t{192} << 10;
}

// Otherwise raises the budget to what the first task that does not fit needs.
bool EngineNthFault::fits(std::size_t& budget, const Bytes& expected) {
  options_.device_memory_bytes = budget;
  Session session(options_);
  try {
    const Array kept = session.persist({earlier()})[0];
    EXPECT_EQ(session.compute({sum(kept)})[0].item<double>(), kEarlierSum);
    EXPECT_EQ(run_in(session), expected);
    return true;
  } catch (const OutOfMemory& e) {
    if (e.requested_bytes <= budget) throw;
    budget = e.requested_bytes;
    return false;
  }
}

bool is_expected(Kind kind, const Error& error) {
  switch (kind) {
    case Kind::kAllocation:
    case Kind::kNoMemory:
      return dynamic_cast<const OutOfMemory*>(&error) != nullptr;
    case Kind::kCopy:
      return dynamic_cast<const CommError*>(&error) != nullptr;
    case Kind::kKernel:
      return dynamic_cast<const LibraryError*>(&error) != nullptr;
    case Kind::kStop:
      return dynamic_cast<const Cancelled*>(&error) != nullptr;
    default:
      return dynamic_cast<const IoError*>(&error) != nullptr;
  }
}

// Operation, block, device, rank and source line where a task or a block is at fault; a path where
// a file is.
void EngineNthFault::check_error(Kind kind, const Error& error) const {
  const std::string text = error.what();
  const auto has = [&](const std::string& part) { return text.find(part) != std::string::npos; };
  EXPECT_TRUE(is_expected(kind, error)) << text;
  EXPECT_EQ(text.front(), '[') << text;
  const bool task = has("\n  in ") && has(", block (") && has(", device host:");
  const bool move = has("\n  moving block (") && has(" of ") && has(" from ") && has(" to ");
  const bool file = has(" got /");
  if (kind == Kind::kStop) {
    EXPECT_EQ(text.find("[compute] a stop was requested; got "), 0U) << text;
  } else if (kind == Kind::kKernel) {
    EXPECT_TRUE(task) << text;
  } else if (kind == Kind::kCopy) {
    EXPECT_TRUE(move) << text;
  } else if (kind == Kind::kAllocation || kind == Kind::kNoMemory) {
    EXPECT_TRUE(task || move || has("the result must fit in host memory")) << text;
  } else {
    EXPECT_TRUE(file) << text;
  }
  if (!task && !move) return;
  EXPECT_TRUE(has(" of rank 0")) << text;
  EXPECT_TRUE(has("\n  built at ") &&
              (has("fault_workloads.cpp:") || has("engine_nth_fault_test.cpp:")))
      << text;
}

void EngineNthFault::every(Kind kind) {
  std::unique_ptr<FaultySession> faulty;
  std::uint64_t failed = 0;
  // Where a disk is full every call fails alone, too; pools try a refused request once more; a stop
  // ends a run as a failing kernel does. Of these kinds some places are enough.
  const bool some = kind == Kind::kFullDisk || kind == Kind::kAllocation || kind == Kind::kStop ||
                    fewer_under_tsan(10) < 10;
  const std::uint64_t sparse = some ? 4 : std::numeric_limits<std::uint64_t>::max();
  for (std::uint64_t nth = 1;; nth += 1 + nth / sparse) {
    SCOPED_TRACE(::testing::Message() << kNames[static_cast<int>(kind)] << " " << nth);
    ASSERT_LT(nth, 3000U) << "never passes";
    // Pools keep memory, and the spill file stays open: such a fault finds a fresh session.
    if (!faulty || (kind < Kind::kCopy)) {
      options_.shuffle_seed = nth % 3;
      faulty.reset();
      faulty = std::make_unique<FaultySession>(options_, kind);
    }
    const FaultOutcome outcome = one(kind, nth, *faulty);
    if (HasFailure() || outcome == FaultOutcome::kNotReached) break;
    failed += outcome == FaultOutcome::kFailed ? 1 : 0;
  }
  // Pools try once more without the memory that they keep, so that one refusal may do nothing.
  if (kind != Kind::kAllocation) {
    EXPECT_GT(failed, 0U) << kNames[static_cast<int>(kind)];
  }
}

EngineNthFault::FaultOutcome EngineNthFault::one(Kind kind, std::uint64_t nth,
                                                 FaultySession& faulty) {
  Session& session = faulty.session();
  const Array kept = session.persist({earlier()})[0];
  const auto read_earlier = [&] {
    EXPECT_EQ(session.compute({sum(kept)})[0].item<double>(), kEarlierSum);
  };
  const std::size_t before = faulty.bytes_in_use();
  if (kind == Kind::kAllocation || kind == Kind::kNoMemory) faulty.trim();
  faulty.fail_at(nth);
  bool passed = false;
  try {
    EXPECT_EQ(run_in(session), expected_);
    read_earlier();
    passed = true;
  } catch (const Error& error) {
    check_error(kind, error);
  }
  const bool reached = faulty.count() >= nth;
  faulty.fail_at(0);
  EXPECT_EQ(faulty.bytes_in_use(), before);
  EXPECT_TRUE(std::filesystem::is_empty(folder_ + "/spill"));
  // A file whose folder could not be made durable is there as a whole; no other one is.
  if (std::filesystem::exists(folder_ + "/result")) {
    EXPECT_EQ(take_saved(folder_), expected_);
  }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);
  if (!passed) {
    EXPECT_EQ(run_in(session), expected_);
    read_earlier();
    EXPECT_EQ(faulty.bytes_in_use(), before);
  }
  EXPECT_TRUE(reached || passed);
  if (!reached) return FaultOutcome::kNotReached;
  return passed ? FaultOutcome::kAbsorbed : FaultOutcome::kFailed;
}

TEST_P(EngineNthFault, AnyAllocationMayFail) { every(Kind::kAllocation); }
TEST_P(EngineNthFault, MemoryMayEndAtAnyAllocation) { every(Kind::kNoMemory); }
TEST_P(EngineNthFault, AnySystemCallMayFail) { every(Kind::kSystemCall); }
TEST_P(EngineNthFault, TheDiskMayBeFullFromAnyCallOn) { every(Kind::kFullDisk); }
TEST_P(EngineNthFault, AnyCopyMayFail) { every(Kind::kCopy); }
TEST_P(EngineNthFault, AnyKernelMayFail) { every(Kind::kKernel); }

INSTANTIATE_TEST_SUITE_P(Workloads, EngineNthFault, ::testing::ValuesIn(testing::all_workloads()),
                         [](const auto& info) { return info.param.name; });

class EngineNthStop : public EngineNthFault {};
TEST_P(EngineNthStop, AStopMayComeInAnyKernel) { every(Kind::kStop); }
INSTANTIATE_TEST_SUITE_P(Workloads, EngineNthStop,
                         ::testing::ValuesIn(testing::stoppable_workloads()),
                         [](const auto& info) { return info.param.name; });

// Drawing takes too long for more.
class EngineNthFileFault : public EngineNthFault {};
TEST_P(EngineNthFileFault, AnySystemCallMayFail) { every(Kind::kSystemCall); }
TEST_P(EngineNthFileFault, TheDiskMayBeFullFromAnyCallOn) { every(Kind::kFullDisk); }
INSTANTIATE_TEST_SUITE_P(Workloads, EngineNthFileFault,
                         ::testing::Values(testing::picture_workload()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace tessera
