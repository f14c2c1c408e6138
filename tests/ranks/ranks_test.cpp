#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <regex>
#include <set>
#include <sstream>
#include <thread>

#include "io/netcdf/netcdf_library.hpp"
#include "tessera/tessera.hpp"

// Processes of this machine that `tessera run` starts.

namespace tessera {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

/// A command with its output, standard error included.
class Command {
 public:
  explicit Command(const std::vector<std::string>& words,
                   const std::vector<std::string>& variables = {}) {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    child_ = ::fork();
    if (child_ == 0) {
      ::dup2(ends[1], 1);
      ::dup2(ends[1], 2);
      for (const std::string& variable : variables) ::putenv(const_cast<char*>(variable.c_str()));
      std::vector<char*> arguments;
      for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
      arguments.push_back(nullptr);
      ::execv(arguments[0], arguments.data());
      ::_exit(126);
    }
    ::close(ends[1]);
    out_ = ends[0];
  }
  ~Command() {
    if (child_ > 0) {
      ::kill(child_, SIGKILL);
      ::waitpid(child_, nullptr, 0);
    }
    ::close(out_);
  }
  /// Reads until the text holds what is looked for, or the output ends. False when it takes too
  /// long.
  bool read_until(const std::function<bool(const std::string&)>& enough,
                  std::chrono::seconds limit) {
    const Clock::time_point end = Clock::now() + limit;
    while (!enough(text)) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
      pollfd poll{out_, POLLIN, 0};
      if (left <= 0 || ::poll(&poll, 1, static_cast<int>(left)) <= 0) return false;
      char buffer[4096];
      const ssize_t n = ::read(out_, buffer, sizeof buffer);
      if (n <= 0) return false;
      text.append(buffer, static_cast<std::size_t>(n));
    }
    return true;
  }
  /// The exit status; -1 when it does not end in time.
  int wait(std::chrono::seconds limit) {
    read_until([](const std::string&) { return false; }, limit);
    const Clock::time_point end = Clock::now() + limit;
    while (Clock::now() < end) {
      int status = 0;
      if (::waitpid(child_, &status, WNOHANG) == child_) {
        child_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      }
      std::this_thread::sleep_for(1ms);
    }
    return -1;
  }
  std::string text;

 private:
  pid_t child_ = -1;
  int out_ = -1;
};

std::vector<std::string> on_ranks(int ranks, std::initializer_list<std::string> words,
                                  const char* devices = "host:1") {
  std::vector<std::string> out = {TESSERA_TOOL, "run",   "-n", std::to_string(ranks),
                                  "--devices",  devices, "--", TESSERA_RANKS_PROGRAM};
  out.insert(out.end(), words);
  return out;
}

/// The transport by UCX, where it was built.
const char* ucx() {
#ifdef TESSERA_HAVE_UCX
  return "ucx";
#else
  return "tcp";
#endif
}

std::map<std::string, std::set<std::string>> hashes(const std::string& text, std::size_t& lines) {
  std::map<std::string, std::set<std::string>> out;
  std::istringstream in(text);
  std::string name, hash;
  for (lines = 0; in >> name >> hash; ++lines) out[name].insert(hash);
  return out;
}

TEST(Ranks, ResultsHaveTheSameBitsOnEveryRankOfAnyNumber) {
  std::map<std::string, std::set<std::string>> wanted;
  for (const auto& [ranks, devices, transport] : {std::tuple{1, "host:1", "auto"},
                                                  {2, "host:2", "auto"},
                                                  {3, "host:1", "tcp"},
                                                  {4, "host:2", "auto"},
                                                  {7, "host:1", "auto"},
                                                  {4, "host:1", ucx()}}) {
    Command command(on_ranks(ranks, {"bits"}, devices),
                    {std::string("TESSERA_TRANSPORT=") + transport});
    ASSERT_EQ(command.wait(60s), 0) << command.text;
    std::size_t lines = 0;
    const auto got = hashes(command.text, lines);
    if (ranks == 1) wanted = got;
    ASSERT_FALSE(wanted.empty());
    EXPECT_EQ(lines, wanted.size() * static_cast<std::size_t>(ranks));
    EXPECT_EQ(got, wanted) << ranks << " ranks";
  }
}

TEST(Ranks, ArraysWithoutASeedAreTheSameOnAllRanksAndOthersInTheNextJob) {
  std::set<std::string> seen;
  for (int job = 0; job < 2; ++job) {
    Command command(on_ranks(3, {"unseeded"}));
    ASSERT_EQ(command.wait(30s), 0) << command.text;
    std::size_t lines = 0;
    const auto got = hashes(command.text, lines);
    EXPECT_EQ(lines, 3u);
    ASSERT_EQ(got.at("unseeded").size(), 1u);
    seen.insert(*got.at("unseeded").begin());
  }
  EXPECT_EQ(seen.size(), 2u);
}

TEST(Ranks, TheSeedOfTheEnvironmentIsThatOfArraysWithoutOne) {
  std::vector<std::string> seen;
  for (const char* seed : {"TESSERA_SEED=5", "TESSERA_SEED=5", "TESSERA_SEED=6"}) {
    Command command({TESSERA_RANKS_PROGRAM, "unseeded"}, {seed});
    ASSERT_EQ(command.wait(30s), 0) << command.text;
    seen.push_back(command.text);
  }
  EXPECT_EQ(seen[0], seen[1]);
  EXPECT_NE(seen[0], seen[2]);
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(Ranks, AFileIsWrittenOnceByAllOfThem) {
  const std::filesystem::path folder =
      std::filesystem::path(::testing::TempDir()) / "tessera_ranks_save";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  for (const int ranks : {1, 3}) {
    Command command(
        on_ranks(ranks, {"save", (folder / (std::to_string(ranks) + ".npy")).string()}));
    ASSERT_EQ(command.wait(30s), 0) << command.text;
  }
  EXPECT_GT(read_file(folder / "1.npy").size(), 500u * 300u * 8u);
  EXPECT_EQ(read_file(folder / "1.npy"), read_file(folder / "3.npy"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 2)
      << "something was left behind";
  Command command(on_ranks(3, {"save", (folder / "none" / "x.npy").string()}));
  EXPECT_EQ(command.wait(30s), 3) << command.text;
  std::filesystem::remove_all(folder);
}

// Each file is one rank's, and has the values that one process writes.
TEST(Ranks, APileIsWrittenByAllOfThem) {
  if (!io::netcdf_module_status().available) GTEST_SKIP() << io::netcdf_module_status().text;
  const std::filesystem::path folder =
      std::filesystem::path(::testing::TempDir()) / "tessera_ranks_pile";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  for (const int ranks : {1, 3}) {
    Command command(on_ranks(ranks, {"pile", (folder / std::to_string(ranks)).string()}));
    ASSERT_EQ(command.wait(30s), 0) << command.text;
  }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 2 * 9)
      << "something was left behind";
  for (const char* end : {"_*.nc", ".nc"}) {
    const HostArray one = open((folder / "1").string() + end, "data").compute();
    const HostArray three = open((folder / "3").string() + end, "data").compute();
    ASSERT_EQ(one.shape(), three.shape());
    EXPECT_EQ(std::memcmp(one.data(), three.data(), one.nbytes()), 0);
  }
  std::filesystem::remove_all(folder);
}

TEST(Ranks, DifferentProgramsAreToldSo) {
  Command command(on_ranks(2, {"differ"}));
  EXPECT_EQ(command.wait(30s), 3);
  EXPECT_NE(command.text.find("all ranks compute the same"), std::string::npos) << command.text;
}

// Ranks whose results may differ compute together only where that is allowed.
TEST(Ranks, OtherProfilesAreRefusedUnlessAllowed) {
  for (const bool allowed : {false, true}) {
    Command command(
        {TESSERA_TOOL, "run", "-n", "2", "--", "/bin/sh", "-c",
         "TESSERA_LAPACK_THREADS=$((TESSERA_RANK + 1)) exec \"$0\" bits", TESSERA_RANKS_PROGRAM},
        {std::string("TESSERA_MIXED_PROFILE=") + (allowed ? "allow" : "refuse")});
    const int status = command.wait(60s);
    EXPECT_EQ(status == 0, allowed) << command.text;
    EXPECT_EQ(command.text.find("all ranks run the same build") == std::string::npos, allowed)
        << command.text;
  }
}

// They come to the same order, whatever devices and memory each has.
TEST(Ranks, OneMayHaveOtherDevicesThanAnother) {
  Command command({TESSERA_TOOL, "run", "-n", "2", "--", "/bin/sh", "-c",
                   "TESSERA_DEVICES=host:$((TESSERA_RANK + 1)) "
                   "TESSERA_DEVICE_MEMORY=$((TESSERA_RANK + 1))GiB exec \"$0\" bits",
                   TESSERA_RANKS_PROGRAM});
  EXPECT_EQ(command.wait(60s), 0) << command.text;
  std::size_t lines = 0;
  for (const auto& [name, found] : hashes(command.text, lines)) EXPECT_EQ(found.size(), 1U) << name;
  EXPECT_GT(lines, 0U);
}

// A launcher that says nothing but what PMIx tells.
TEST(Ranks, MpirunIsAllItTakes) {
#ifdef TESSERA_MPIRUN
  for (const char* what : {"bits", "unseeded"}) {
    std::map<std::string, std::set<std::string>> wanted;
    Command alone(on_ranks(1, {what}), {"TESSERA_LAPACK_THREADS=2"});
    ASSERT_EQ(alone.wait(60s), 0) << alone.text;
    std::size_t count = 0;
    wanted = hashes(alone.text, count);
    Command command({TESSERA_MPIRUN, "-n", "3", "--oversubscribe", "--allow-run-as-root",
                     TESSERA_RANKS_PROGRAM, what},
                    {"TESSERA_WORKERS=1", "TESSERA_LAPACK_THREADS=2"});
    ASSERT_EQ(command.wait(60s), 0) << command.text;
    std::size_t lines = 0;
    const auto got = hashes(command.text, lines);
    EXPECT_EQ(lines, 3 * count) << command.text;
    for (const auto& [name, values] : got) EXPECT_EQ(values.size(), 1u) << name;
    if (std::string(what) == "bits") {
      EXPECT_EQ(got, wanted);
    }
  }
#else
  GTEST_SKIP() << "mpirun or PMIx's headers are missing here";
#endif
}

TEST(Ranks, AProgramThatIsNotThereIsNamed) {
  Command command({TESSERA_TOOL, "run", "-n", "2", "/nowhere/prog"});
  EXPECT_EQ(command.wait(30s), 1);
  EXPECT_NE(command.text.find("[run] the program must start; got /nowhere/prog: No such file"),
            std::string::npos)
      << command.text;
}

/// What the ranks say that they are.
std::map<int, pid_t> processes_of(Command& command, std::size_t ranks) {
  const std::regex line("rank (\\d) is process (\\d+)\n");
  std::map<int, pid_t> out;
  command.read_until(
      [&](const std::string& text) {
        for (std::sregex_iterator i(text.begin(), text.end(), line), end; i != end; ++i)
          out[std::stoi((*i)[1])] = std::stoi((*i)[2]);
        return out.size() == ranks;
      },
      60s);
  return out;
}

// Each of four ranks is killed, at random moments: the others end by themselves and say whom they
// miss.
TEST(Ranks, WhenOneIsKilledTheOthersEndAndNameIt) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 12; ++round) {
    const int victim = round % 4;
    const char* const transports[] = {"auto", "tcp", ucx()};
    Command command(
        on_ranks(4, {"forever", std::to_string(random() % 4)}),
        {"TESSERA_RANK_TIMEOUT=10", std::string("TESSERA_TRANSPORT=") + transports[round % 3]});
    std::map<int, pid_t> processes = processes_of(command, 4);
    ASSERT_EQ(processes.size(), 4u) << command.text;
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 30'000));
    const Clock::time_point begin = Clock::now();
    ASSERT_EQ(::kill(processes[victim], SIGKILL), 0);
    EXPECT_EQ(command.wait(20s), 137) << command.text;
    EXPECT_LT(Clock::now() - begin, 4s) << command.text;
    const std::string name = "rank " + std::to_string(victim) + " on ";
    EXPECT_NE(command.text.find(name), std::string::npos) << command.text;
    for (const auto& [rank, process] : processes)
      EXPECT_NE(::kill(process, 0), 0) << "rank " << rank << " is left";
  }
}

/// The lines that hashes() reads, of other output too.
std::string results_in(const std::string& text) {
  std::string out;
  std::istringstream in(text);
  const std::regex result("[a-z]+\\.\\d [0-9a-f]{16}");
  for (std::string line; std::getline(in, line);) {
    if (std::regex_match(line, result)) out += line + "\n";
  }
  return out;
}

// Each of four ranks is killed, at random moments: the others come to what all would have come to.
TEST(Ranks, WhenOneIsKilledTheOthersGoOnWhereTheyAreToRecover) {
  std::mt19937_64 random(12);
  int round = 0;
  int hit = 0;
  for (const char* work : {"product", "svd", "rechunk", "kept", "delayed"}) {
    Command clean(on_ranks(1, {"survive", work}));
    ASSERT_EQ(clean.wait(60s), 0) << clean.text;
    std::size_t count = 0;
    const auto wanted = hashes(results_in(clean.text), count);
    ASSERT_GT(count, 1u);
    for (int kill = 0; kill < 3; ++kill, ++round) {
      const int victim = round % 4;
      Command command(on_ranks(4, {"survive", work}),
                      {"TESSERA_ON_RANK_LOSS=recover",
                       round % 2 == 0 ? "TESSERA_TRANSPORT=auto" : "TESSERA_TRANSPORT=tcp"});
      const std::map<int, pid_t> processes = processes_of(command, 4);
      ASSERT_EQ(processes.size(), 4u) << command.text;
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 400'000));
      ::kill(processes.at(victim), SIGKILL);
      EXPECT_EQ(command.wait(60s), 0) << command.text;
      std::size_t lines = 0;
      EXPECT_EQ(hashes(results_in(command.text), lines), wanted) << command.text;
      EXPECT_GE(lines, 3 * count) << command.text;
      hit += command.text.find(" is lost: ") != std::string::npos ? 1 : 0;
      for (const auto& [rank, process] : processes)
        EXPECT_NE(::kill(process, 0), 0) << "rank " << rank << " is left";
    }
  }
  EXPECT_GE(hit, round / 4) << "of " << round << " kills";
}

// What ranks write together is whole, whoever of them is killed on the way.
TEST(Ranks, WhatIsSavedIsWholeWithoutThoseThatAreKilled) {
  const std::filesystem::path folder =
      std::filesystem::path(::testing::TempDir()) / "tessera_ranks_killed";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const auto load = [](const std::string& path) {
    if (path.ends_with(".npy")) return load_npy(path).compute();
    return path.ends_with(".zarr") ? open_zarr(path).compute() : open(path, "data").compute();
  };
  std::mt19937_64 random(13);
  int round = 0;
  int hit = 0;
  for (const char* name : {".npy", ".zarr", "_*.nc"}) {
    if (std::string(name).ends_with(".nc") && !io::netcdf_module_status().available) continue;
    const std::string one = (folder / ("one" + std::string(name))).string();
    Command clean(on_ranks(1, {"save_on", one}));
    ASSERT_EQ(clean.wait(60s), 0) << clean.text;
    const HostArray wanted = load(one);
    for (int kill = 0; kill < 4; ++kill, ++round) {
      const std::string path = (folder / (std::to_string(round) + name)).string();
      Command command(on_ranks(4, {"save_on", path}), {"TESSERA_ON_RANK_LOSS=recover"});
      const std::map<int, pid_t> processes = processes_of(command, 4);
      ASSERT_EQ(processes.size(), 4u) << command.text;
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 150'000));
      ::kill(processes.at(round % 4), SIGKILL);
      ASSERT_EQ(command.wait(60s), 0) << path << "\n" << command.text;
      hit += command.text.find(" is lost: ") != std::string::npos ? 1 : 0;
      const HostArray got = load(path);
      ASSERT_EQ(got.shape(), wanted.shape());
      EXPECT_EQ(std::memcmp(got.data(), wanted.data(), wanted.nbytes()), 0) << path;
    }
  }
  EXPECT_GE(hit, round / 4) << "of " << round << " kills";
  std::filesystem::remove_all(folder);
}

// One that was given up fails while the others are still at it, which are left alone.
TEST(Ranks, TheLauncherWaitsForThoseThatGoOn) {
  const auto run = [](const char* what, int& status) {
    Command command({TESSERA_TOOL, "run", "-n", "3", "--", "sh", "-c", what},
                    {"TESSERA_ON_RANK_LOSS=recover"});
    status = command.wait(60s);
    std::size_t ended = 0;
    for (std::size_t at = 0; (at = command.text.find("ended well", at)) != std::string::npos; ++at)
      ++ended;
    return ended;
  };
  int status = 0;
  EXPECT_EQ(run("[ $TESSERA_RANK = 1 ] && exit 3; sleep 7; echo ended well", status), 2u);
  EXPECT_EQ(status, 3);
  EXPECT_EQ(run("[ $TESSERA_RANK = 1 ] && kill -9 $$; sleep 1; echo ended well", status), 2u);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(run("[ $TESSERA_RANK = 1 ] || kill -9 $$; sleep 1; echo ended well", status), 1u);
  EXPECT_EQ(status, 128 + SIGKILL) << "fewer than half";
}

TEST(Ranks, MpirunLetsTheOthersLiveWhenItIsAsked) {
#ifdef TESSERA_MPIRUN
  Command clean(on_ranks(1, {"survive", "kept"}));
  ASSERT_EQ(clean.wait(60s), 0) << clean.text;
  std::size_t count = 0;
  const auto wanted = hashes(results_in(clean.text), count);
  Command command({TESSERA_MPIRUN, "-n", "4", "--oversubscribe", "--allow-run-as-root", "--mca",
                   "orte_enable_recovery", "1", TESSERA_RANKS_PROGRAM, "survive", "kept"},
                  {"TESSERA_WORKERS=1", "TESSERA_ON_RANK_LOSS=recover"});
  const std::map<int, pid_t> processes = processes_of(command, 4);
  ASSERT_EQ(processes.size(), 4u) << command.text;
  std::this_thread::sleep_for(200ms);
  ::kill(processes.at(0), SIGKILL);
  command.wait(60s);  // its status is the launcher's matter
  std::size_t lines = 0;
  EXPECT_EQ(hashes(results_in(command.text), lines), wanted) << command.text;
  EXPECT_GE(lines, 3 * count) << command.text;
#else
  GTEST_SKIP() << "mpirun or PMIx's headers are missing here";
#endif
}

// The leader of what is saved is given up while it sleeps, and does no harm when it wakes up.
TEST(Ranks, ARankThatWakesUpLateLeavesAloneWhatTheOthersHaveSaved) {
  const std::filesystem::path folder =
      std::filesystem::path(::testing::TempDir()) / "tessera_ranks_asleep";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const std::string one = (folder / "one.zarr").string();
  Command clean(on_ranks(1, {"save_on", one}));
  ASSERT_EQ(clean.wait(60s), 0) << clean.text;
  const HostArray wanted = open_zarr(one).compute();
  for (const auto delay : {5ms, 30ms, 80ms}) {
    const std::string path = (folder / (std::to_string(delay.count()) + ".zarr")).string();
    Command command(on_ranks(4, {"save_on", path}),
                    {"TESSERA_ON_RANK_LOSS=recover", "TESSERA_RANK_TIMEOUT=2"});
    const std::map<int, pid_t> processes = processes_of(command, 4);
    ASSERT_EQ(processes.size(), 4u) << command.text;
    std::this_thread::sleep_for(delay);
    ::kill(processes.at(0), SIGSTOP);
    for (int rank = 1; rank < 4; ++rank) {
      for (int i = 0; i < 30'000 && ::kill(processes.at(rank), 0) == 0; ++i)
        std::this_thread::sleep_for(1ms);
    }
    ::kill(processes.at(0), SIGCONT);
    EXPECT_GE(command.wait(60s), 0) << command.text;
    const HostArray got = open_zarr(path).compute();
    ASSERT_EQ(got.shape(), wanted.shape());
    EXPECT_EQ(std::memcmp(got.data(), wanted.data(), wanted.nbytes()), 0) << path;
  }
  std::filesystem::remove_all(folder);
}

// A launcher that ends all processes with one leaves nobody to go on.
TEST(Ranks, RecoveryIsRefusedUnderALauncherThatEndsAll) {
  Command command({TESSERA_TOOL, "run", "-n", "2", "--", TESSERA_RANKS_PROGRAM, "unseeded"},
                  {"TESSERA_ON_RANK_LOSS=recover", "OMPI_COMM_WORLD_RANK=0"});
  EXPECT_EQ(command.wait(30s), 3) << command.text;
  EXPECT_NE(command.text.find("[TESSERA_ON_RANK_LOSS] recover needs a launcher"), std::string::npos)
      << command.text;
}

}  // namespace
}  // namespace tessera
