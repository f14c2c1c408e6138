#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <thread>

#include "tessera/tessera.hpp"
#include "tests/array/expect_refusal.hpp"

// What a session owns and refuses: arrays of other sessions, calls from inside its own runs, calls
// after it was moved from; computations in the background.

namespace tessera {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

SessionOptions on(const std::string& devices) {
  SessionOptions options;
  options.devices = devices;
  options.device_memory_bytes = 64 * kMiB;
  options.host_memory_bytes = 0;
  options.disk_memory_bytes = 0;
  options.workers = 2;
  return options;
}

template <typename Expected, typename Call>
std::string thrown(Call call) {
  try {
    call();
  } catch (const Expected& e) {
    return e.what();
  }
  return "nothing thrown";
}

// 200 blocks that take a millisecond each.
Array slow() {
  return map_blocks(
      [](std::span<const InputBlock>, const OutputBlock& out) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        std::fill_n(out.as<double>(), out.size(), 1.0);
      },
      {}, {.dtype = float64, .shape = Shape{200}, .chunks = Chunks{1}});
}

TEST(Session, RefusesAnArrayThatIsKeptInAnotherOne) {
  Session three(on("host:3"));
  Session one(on("host"));
  one.compute({sum(ones({5}))});
  const std::vector<std::size_t> alone = one.last_run().peak_device_bytes;
  const Array kept = three.persist({ones({100, 100}, {.chunks = {30, 30}})})[0];
  const std::string text =
      "[session] an array that is kept in a session is computed in that session; got one of shape "
      "(100, 100) kept in host:0 to host:2 of another session, in a computation on host:0; try "
      "compute() in its own session, and from_memory() of the result here";
  EXPECT_REFUSED(one.compute({sum(kept)}), text);
  EXPECT_REFUSED(one.compute({kept}), text);
  EXPECT_REFUSED(one.persist({kept + 1.0}), text);
  EXPECT_REFUSED(one.persist({kept}), text);
  EXPECT_EQ(one.resident_bytes(), 0U);
  EXPECT_EQ(one.compute({sum(ones({5}))})[0].item<double>(), 5.0);
  EXPECT_EQ(one.last_run().peak_device_bytes, alone) << "the other's blocks are not its own";
  EXPECT_EQ(three.compute({sum(kept)})[0].item<double>(), 10000.0);
  EXPECT_EQ(three.resident_bytes(), 80000U);
}

TEST(Session, RefusesAKeptArrayWhoseSessionComputesInAnotherThread) {
  Session own(on("host"));
  Session other(on("host"));
  const Array kept = own.persist({ones({100, 100}, {.chunks = {10, 10}})})[0];
  std::thread busy([&] {
    for (int i = 0; i < 30; ++i) EXPECT_EQ(own.compute({sum(kept)})[0].item<double>(), 10000.0);
  });
  for (int i = 0; i < 30; ++i)
    EXPECT_NE(thrown<InvalidArgument>([&] { other.compute({sum(kept)}); }), "nothing thrown");
  busy.join();
}

TEST(Session, MovesWithWhatItKeeps) {
  Session first(on("host:2"));
  const Array kept = first.persist({ones({10})})[0];
  Session second(std::move(first));
  EXPECT_EQ(second.compute({sum(kept)})[0].item<double>(), 10.0);
  EXPECT_EQ(second.resident_bytes(), 80U);
  const std::string text =
      "[session] a session that was moved from can only be assigned to or destroyed; got a call; "
      "try the session it was moved to";
  EXPECT_EQ(thrown<Error>([&] { first.compute({kept}); }), text);
  EXPECT_EQ(thrown<Error>([&] { first.compute_async({kept}); }), text);
  EXPECT_EQ(thrown<Error>([&] { first.persist({kept}); }), text);
  EXPECT_EQ(thrown<Error>([&] { first.run({}); }), text);
  EXPECT_EQ(thrown<Error>([&] { first.last_run(); }), text);
  EXPECT_EQ(thrown<Error>([&] { first.explain({kept}); }), text);
  EXPECT_EQ(thrown<Error>([&] { first.resident_bytes(); }), text);
  EXPECT_EQ(thrown<Error>([&] { first.describe(); }), text);
  first = std::move(second);
  EXPECT_EQ(first.compute({sum(kept)})[0].item<double>(), 10.0);
}

TEST(Session, HandsOutBlocksThatOutliveIt) {
  const Array x = rechunk(reshape(arange(30.0), {6, 5}), {4, 3}) * 2.0;
  std::vector<DeviceBlock> blocks;
  {
    Session session(on("host:2"));
    blocks = session.compute_blocks(x);
    EXPECT_EQ(session.compute_blocks(zeros({0, 3}))[0].shape, (Shape{0, 3}));
    EXPECT_EQ(session.compute_blocks(zeros({}))[0].start, Shape{});
  }
  ASSERT_EQ(blocks.size(), 4U);
  std::vector<double> got(30, -1.0);
  for (const DeviceBlock& block : blocks) {
    EXPECT_FALSE(block.on_cuda);
    EXPECT_EQ(block.dtype, float64);
    const auto* values = static_cast<const double*>(block.memory.get());
    for (std::int64_t i = 0; i < block.shape[0]; ++i) {
      for (std::int64_t j = 0; j < block.shape[1]; ++j)
        got[static_cast<std::size_t>(5 * (block.start[0] + i) + block.start[1] + j)] = *values++;
    }
  }
  for (std::size_t i = 0; i < 30; ++i) EXPECT_EQ(got[i], 2.0 * static_cast<double>(i));
  EXPECT_EQ(blocks[3].index, (Shape{1, 1}));
}

// Whatever makes the result: a product with its own transpose, of which half is computed; a view; a
// row of a group of results.
TEST(Session, HandsOutBlocksOfAnyResult) {
  Session session(on("host:2"));
  const SessionScope scope(session);
  const Array x = random::integers(0, 9, {50, 20}, {.chunks = {20, 7}, .seed = 1}) * 1.0;
  const Array qr_of = qr(x).q;
  for (const Array& made :
       {matmul(x, x.T()), x.T(), x, qr_of, sum(x, {.axis = 0}), cumulative_sum(x, {.axis = 0}),
        sort(rechunk(x, {50, 7}), {.axis = 0}), broadcast_to(asarray(2.0), {3, 4}),
        astype(x, DType::kFloat16), astype(x, DType::kFloat16).persist(), (x > 4.0).persist()}) {
    const HostArray wanted = made.compute();
    std::size_t elements = 0;
    for (const DeviceBlock& block : compute_blocks(made)) {
      const std::size_t item = itemsize(block.dtype);
      std::vector<Index> index;
      for (std::size_t d = 0; d < block.shape.size(); ++d)
        index.push_back(Slice{block.start[d], block.start[d] + block.shape[d]});
      const HostArray there = asarray(wanted).at(index).compute();
      elements += static_cast<std::size_t>(there.size());
      EXPECT_EQ(std::memcmp(there.data(), block.memory.get(),
                            static_cast<std::size_t>(there.size()) * item),
                0)
          << made;
    }
    EXPECT_EQ(elements, static_cast<std::size_t>(wanted.size()));
  }
}

TEST(Session, BlocksThatAreHandedOutTakeRoom) {
  SessionOptions options = on("host");
  options.device_memory_bytes = kMiB;
  Session session(options);
  const Array half = zeros({kMiB / 16}, {.chunks = {kMiB / 64}}) + 1.0;
  std::vector<DeviceBlock> blocks = session.compute_blocks(half);
  const Array more = zeros({3 * kMiB / 32}, {.chunks = {kMiB / 64}}) + 1.0;
  EXPECT_EQ(thrown<OutOfMemory>([&] { session.persist({more}); }).find("["), 0U);
  EXPECT_EQ(session.compute({sum(half)})[0].item<double>(), kMiB / 16);
  blocks.clear();
  session.persist({more});
  EXPECT_EQ(session.resident_bytes(), 0U);
}

TEST(Session, ABackgroundComputationOutlivesItsSession) {
  std::future<std::vector<HostArray>> result;
  {
    Session session(on("host:2"));
    result = session.compute_async({slow(), sum(slow())});
  }
  EXPECT_EQ(result.get()[1].item<double>(), 200.0);
  Session first(on("host"));
  result = first.compute_async({sum(slow())});
  Session second(std::move(first));
  EXPECT_EQ(second.compute({sum(ones({3}))})[0].item<double>(), 3.0);
  EXPECT_EQ(result.get()[0].item<double>(), 200.0);
}

TEST(Session, ABackgroundComputationIsStoppedMidRun) {
  Session session(on("host"));
  std::stop_source stop;
  std::atomic<int> ran{0};
  const Array x = map_blocks(
      [&](std::span<const InputBlock>, const OutputBlock& out) {
        if (++ran == 20) stop.request_stop();
        std::fill_n(out.as<double>(), out.size(), 1.0);
      },
      {}, {.dtype = float64, .shape = Shape{100000}, .chunks = Chunks{10}});
  auto result = session.compute_async({x}, {.stop = stop.get_token()});
  const std::string text = thrown<Cancelled>([&] { result.get(); });
  EXPECT_EQ(text.find("[compute] a stop was requested; got "), 0U) << text;
  EXPECT_NE(text.find(" of 20000 tasks done"), std::string::npos) << text;
  EXPECT_GE(ran, 20);
  EXPECT_LT(ran, 10000);
  EXPECT_EQ(session.resident_bytes(), 0U);
  EXPECT_EQ(session.compute({sum(ones({5}))})[0].item<double>(), 5.0);
}

TEST(Session, RefusesCallsFromInsideItsRuns) {
  Session session(on("host"));
  Session other(on("host"));
  const std::string refused =
      "[session] a task or progress callback cannot ask the session that runs it; got a call from "
      "inside one; try passing what it needs as an argument";
  const auto compute_inside = [&](std::int64_t, std::int64_t) { session.compute({ones({3})}); };
  EXPECT_EQ(thrown<Error>([&] {
              session.compute({slow()}, {.progress = compute_inside});
            }).substr(0, refused.size()),
            refused);
  const auto async_inside = [&](std::int64_t, std::int64_t) { session.compute_async({ones({3})}); };
  EXPECT_EQ(thrown<Error>([&] {
              session.compute({ones({3})}, {.progress = async_inside});
            }).substr(0, refused.size()),
            refused);
  // Through another session, on the same thread.
  const auto through_other = [&](std::int64_t, std::int64_t) {
    other.compute({ones({3})}, {.progress = compute_inside});
  };
  EXPECT_EQ(thrown<Error>([&] {
              session.compute({slow()}, {.progress = through_other});
            }).substr(0, refused.size()),
            refused);
  double inner = 0;
  const auto compute_elsewhere = [&](std::int64_t, std::int64_t) {
    inner = other.compute({sum(ones({3}))})[0].item<double>();
  };
  session.compute({slow()}, {.progress = compute_elsewhere});
  EXPECT_EQ(inner, 3.0);
}

TEST(Session, RefusesOptionsThatCannotBeMeant) {
  const auto with = [](auto change) {
    SessionOptions options = on("host");
    change(options);
    return [options] { Session session(options); };
  };
  EXPECT_REFUSED(with([](SessionOptions& o) { o.workers = -1; })(),
                 "[session] workers are 1 to 4096, or 0 for the cores; got -1; try 0");
  EXPECT_REFUSED(with([](SessionOptions& o) { o.workers = 100000; })(),
                 "[session] workers are 1 to 4096, or 0 for the cores; got 100000; try 0");
  EXPECT_REFUSED(with([](SessionOptions& o) { o.device_memory_bytes = 0; })(),
                 "[session] a device needs memory; got SessionOptions::device_memory_bytes of 0; "
                 "try 256 MiB");
  for (const std::string folder : {"/nowhere/at/all", "/dev/null"}) {
    const std::string text =
        thrown<IoError>(with([&](SessionOptions& o) { o.spill_dir = folder; }));
    EXPECT_EQ(text.find("[SessionOptions::spill_dir] a folder must take new files; got " + folder),
              0U)
        << text;
  }
}

// The variables are read once in a process: each of these runs in one of its own.
class SessionEnvironment : public ::testing::Test {
 protected:
  SessionEnvironment() {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    // The child processes are to find the parent's.
    const std::string fresh =
        ::testing::TempDir() + "/tessera_session_" + std::to_string(::getpid());
    ::setenv("TESSERA_TEST_FOLDER", fresh.c_str(), 0);
    folder_ = std::getenv("TESSERA_TEST_FOLDER");
    std::filesystem::create_directories(folder_);
  }
  ~SessionEnvironment() override { std::filesystem::remove_all(folder_); }
  std::string path(const std::string& name) const { return folder_ + "/" + name; }

  static int run_with(const std::vector<std::pair<const char*, std::string>>& variables,
                      int sessions = 1) {
    for (const auto& [name, value] : variables) ::setenv(name, value.c_str(), 1);
    try {
      for (int i = 0; i < sessions; ++i) {
        Session session;
        session.compute({sum(ones({100, 100}, {.chunks = {50, 50}}))});
      }
    } catch (const Error& e) {
      std::cerr << e.what() << std::endl;
      return 1;
    }
    return 0;
  }

  std::string folder_;
};

#define EXPECT_RUN(status, text, ...) \
  EXPECT_EXIT(std::exit(run_with(__VA_ARGS__)), ::testing::ExitedWithCode(status), text)

TEST_F(SessionEnvironment, RefusesNonsenseWhenTheSessionIsMade) {
  using Set = std::vector<std::pair<const char*, std::string>>;
  EXPECT_RUN(1, "^\\[TESSERA_SPILL_DIR\\] a folder must take new files; got /nowhere: No such",
             Set{{"TESSERA_SPILL_DIR", "/nowhere"}});
  EXPECT_RUN(1, "^\\[TESSERA_SPILL_DIR\\] .* got /dev/null: Not a directory",
             Set{{"TESSERA_SPILL_DIR", "/dev/null"}});
  EXPECT_RUN(1, "^\\[TESSERA_DEVICE_MEMORY\\] a device needs memory; got \"0\"",
             Set{{"TESSERA_DEVICE_MEMORY", "0"}});
  EXPECT_RUN(1, "^\\[TESSERA_DEVICES\\] devices are host", Set{{"TESSERA_DEVICES", "host:0"}});
  EXPECT_RUN(1, "^\\[TESSERA_TRACE\\] a file must be writable; got /nowhere/t.json",
             Set{{"TESSERA_TRACE", "/nowhere/t.json"}});
}

TEST_F(SessionEnvironment, LogsWhatIsAskedFor) {
  using Set = std::vector<std::pair<const char*, std::string>>;
  const Set machine{{"TESSERA_DEVICES", "host:2"},
                    {"TESSERA_DEVICE_MEMORY", "8MiB"},
                    {"TESSERA_HOST_MEMORY", "3MiB"},
                    {"TESSERA_SPILL_LIMIT", "0"},
                    {"TESSERA_WORKERS", "2"}};
  const auto with = [&](Set more) {
    more.insert(more.end(), machine.begin(), machine.end());
    return more;
  };
  EXPECT_RUN(0, "^$", with({}));
  EXPECT_RUN(0,
             "^tessera: info: session on host:0 to host:1: 8.00 MiB each, host tier 3.00 MiB, disk "
             "tier 0 B in [^\n]*, 2 workers\n$",
             with({{"TESSERA_LOG", "info"}}));
  EXPECT_RUN(
      0,
      "tessera: info: session on [^\n]*\ntessera: debug: run: [0-9]+ nodes, 7 tasks on host:0 "
      "to host:1\ntessera: debug: run: 7 tasks \\(0 again\\) in [^\n]* s; between devices "
      "[^\n]*; to and from host 0 B and 0 B; to and from disk 0 B and 0 B; dropped 0 B\n$",
      with({{"TESSERA_LOG", "debug"}}));
  EXPECT_RUN(0, "^tessera: warning: TESSERA_WORKER is no variable of this library and is ignored",
             with({{"TESSERA_WORKER", "3"}}));
  EXPECT_RUN(0, "^$", with({{"TESSERA_WORKER", "3"}, {"TESSERA_LOG", "off"}}));
  // A folder that nobody named falls back to none, and says so.
  EXPECT_RUN(0, "^tessera: warning: \\[TESSERA_SPILL_DIR\\] .* got /nowhere: .*spills to no disk",
             Set{{"TMPDIR", "/nowhere"}, {"TESSERA_WORKERS", "1"}});
  EXPECT_RUN(1, "^\\[TESSERA_SPILL_DIR\\] .* got /nowhere: ",
             Set{{"TMPDIR", "/nowhere"}, {"TESSERA_SPILL_LIMIT", "1MiB"}});
}

TEST_F(SessionEnvironment, EachSessionWritesATraceOfItsOwn) {
  using Set = std::vector<std::pair<const char*, std::string>>;
  EXPECT_RUN(0, "", Set{{"TESSERA_TRACE", path("t.json")}}, 3);
  for (const char* name : {"t.json", "t-2.json", "t-3.json"}) {
    std::ifstream in(path(name));
    std::string text((std::istreambuf_iterator<char>(in)), {});
    EXPECT_NE(text.find("\"ph\":\"X\""), std::string::npos) << name;
  }
}

TEST(Printing, RunsNothing) {
  std::atomic<int> calls{0};
  const Array x = map_blocks(
      [&](std::span<const InputBlock>, const OutputBlock& out) {
        ++calls;
        std::fill_n(out.as<double>(), out.size(), 1.0);
      },
      {}, {.dtype = float64, .shape = Shape{6}, .chunks = Chunks{2}});
  Session session(on("host"));
  const SessionScope scope(session);
  std::ostringstream out;
  out << sum(x + 1.0);
  EXPECT_NE(out.str().find("shape=(), dtype=float64, chunks=()"), std::string::npos) << out.str();
  session.explain({x});
  simulate({x});
  EXPECT_EQ(calls, 0);
  EXPECT_EQ(session.last_run().tasks, 0);
  EXPECT_EQ(sum(x + 1.0).item<double>(), 12.0);
  EXPECT_EQ(calls, 3);
}

}  // namespace
}  // namespace tessera
