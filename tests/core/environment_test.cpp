#include "core/environment.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <set>

#include "tests/array/expect_refusal.hpp"

namespace tessera::core {
namespace {

// parse_environment() takes a plain function.
std::map<std::string, std::string>& variables() {
  static std::map<std::string, std::string> values;
  return values;
}
Environment parse(std::map<std::string, std::string> values) {
  variables() = std::move(values);
  return parse_environment([](const char* name) -> const char* {
    const auto it = variables().find(name);
    return it == variables().end() ? nullptr : it->second.c_str();
  });
}

TEST(Environment, HasDefaults) {
  const Environment env = parse({});
  EXPECT_EQ(env.devices, "host");
  EXPECT_FALSE(env.device_memory || env.host_memory || env.disk_memory || env.message_memory ||
               env.workers || env.lapack_threads || env.seed || env.mixed_profile);
  EXPECT_EQ(env.spill_dir + env.trace, "");
  EXPECT_EQ(env.log, LogLevel::kWarning);
  EXPECT_TRUE(env.fuse);
  EXPECT_EQ(env.window, 4096U);
}

struct Case {
  std::string name;
  std::string good;
  std::function<bool(const Environment&)> holds;
  std::vector<std::pair<std::string, std::string>> bad;  ///< value, and the error's text
};

const std::string kSizes = "; try \"128 MiB\", \"2GB\" or a number of bytes";

// Paths and device lists mean something only to whoever opens them: any text is one here.
const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {"TESSERA_DEVICES", "host:3", [](const Environment& e) { return e.devices == "host:3"; }, {}},
      {"TESSERA_DEVICE_MEMORY",
       "256MiB",
       [](const Environment& e) { return e.device_memory == std::size_t{256} << 20; },
       {{"much", "a size is a number and a unit; got \"much\"" + kSizes},
        {"-1MiB", "a size is a number and a unit; got \"-1MiB\"" + kSizes},
        {"", "a size is a number and a unit; got \"\"" + kSizes},
        {"0", "a device needs memory; got \"0\"; try 256MiB"}}},
      {"TESSERA_HOST_MEMORY",
       "2GB",
       [](const Environment& e) { return e.host_memory == std::size_t{2'000'000'000}; },
       {{"2 giga", "a size is a number and a unit; got \"2 giga\"" + kSizes}}},
      {"TESSERA_MESSAGE_MEMORY",
       "1GiB",
       [](const Environment& e) { return e.message_memory == std::size_t{1} << 30; },
       {{"1 giga", "a size is a number and a unit; got \"1 giga\"" + kSizes}}},
      {"TESSERA_SPILL_LIMIT",
       "0",
       [](const Environment& e) { return e.disk_memory == std::size_t{0}; },
       {{"nan", "a size is a number and a unit; got \"nan\"" + kSizes}}},
      {"TESSERA_SPILL_DIR",
       "/scratch",
       [](const Environment& e) { return e.spill_dir == "/scratch"; },
       {}},
      {"TESSERA_WORKERS",
       "5",
       [](const Environment& e) { return e.workers == 5; },
       {{"0", "the value is a whole number from 1 to 4096; got \"0\""},
        {"-2", "the value is a whole number from 1 to 4096; got \"-2\""},
        {"4 ", "the value is a whole number from 1 to 4096; got \"4 \""}}},
      {"TESSERA_LAPACK_THREADS",
       "2",
       [](const Environment& e) { return e.lapack_threads == 2; },
       {{"two", "the value is a whole number from 1 to 4096; got \"two\""}}},
      {"TESSERA_SEED",
       "18446744073709551615",
       [](const Environment& e) { return e.seed == ~std::uint64_t{0}; },
       {{"1.5", "the value is a whole number from 0 to 18446744073709551615; got \"1.5\""}}},
      {"TESSERA_TRACE", "t.json", [](const Environment& e) { return e.trace == "t.json"; }, {}},
      {"TESSERA_LOG",
       "debug",
       [](const Environment& e) { return e.log == LogLevel::kDebug; },
       {{"loud", "the level is off, error, warning, info or debug; got \"loud\""}}},
      {"TESSERA_FUSE",
       "off",
       [](const Environment& e) { return !e.fuse; },
       {{"maybe", "the value is on or off; got \"maybe\""}}},
      {"TESSERA_PRODUCT_PRECISION",
       "tf32",
       [](const Environment& e) { return e.product_precision == ProductPrecision::kTf32; },
       {{"TF32", "the value is full, tf32, bf16x9 or fixed_point; got \"TF32\""}}},
      {"TESSERA_WINDOW",
       "16",
       [](const Environment& e) { return e.window == 16; },
       {{"0", "the value is a whole number from 1 to 16777216; got \"0\""}}},
      {"TESSERA_MODULE_PATH",
       "/a:b c:/d",
       [](const Environment& e) {
         return e.module_path == std::vector<std::string>{"/a", "b c", "/d"};
       },
       {{":/a", "the value is folders with a \":\" between them; got \":/a\""}}},
      {"TESSERA_MIXED_PROFILE",
       "allow",
       [](const Environment& e) { return e.mixed_profile; },
       {{"yes", "the value is allow or refuse; got \"yes\""}}},
      {"TESSERA_CACHE_DIR", "/c", [](const Environment& e) { return e.cache_dir == "/c"; }, {}},
  };
  return all;
}

TEST(Environment, ReadsEveryVariableStrictly) {
  std::set<std::string> seen;
  for (const Case& c : cases()) {
    seen.insert(c.name);
    EXPECT_TRUE(c.holds(parse({{c.name, c.good}}))) << c.name;
    for (const auto& [value, text] : c.bad)
      EXPECT_REFUSED(parse({{c.name, value}}), "[" + c.name + "] " + text);
  }
  // What is read of the job, job_test.cpp has.
  seen.insert({"TESSERA_RANK", "TESSERA_WORLD_SIZE", "TESSERA_RENDEZVOUS", "TESSERA_JOB_TOKEN",
               "TESSERA_JOB_TOKEN_FILE", "TESSERA_JOIN_TIMEOUT", "TESSERA_TRANSPORT",
               "TESSERA_INTERFACE", "TESSERA_RANK_TIMEOUT", "TESSERA_ON_RANK_LOSS"});
  std::set<std::string> documented;
  for (const VariableInfo& variable : environment_variables()) documented.insert(variable.name);
  EXPECT_EQ(seen, documented);
}

TEST(Environment, FindsUnknownVariables) {
  const char* const entries[] = {
      "PATH=/bin", "TESSERA_WORKER=3", "TESSERA_WORKERS=3", "TESSERA_TEST_X=1",
      "TESSERA_=", "XTESSERA_Y=1",     "TESSERA_BARE",      nullptr};
  EXPECT_EQ(unknown_variables(entries),
            (std::vector<std::string>{"TESSERA_", "TESSERA_BARE", "TESSERA_WORKER"}));
}

}  // namespace
}  // namespace tessera::core
