#include <complex>
#include <functional>
#include <utility>

#include "io/zarr/zarr_array.hpp"
#include "tests/core/faulty_file_system.hpp"
#include "tests/io/io_fixture.hpp"

// Stores that zarr-python wrote (data/zarr/make_stores.py), and stores that are damaged.

namespace tessera::io {
namespace {

class Zarr : public IoFixture {
 protected:
  ZarrArray open(const std::string& name) const {
    return ZarrArray::open(fs_, std::string(TESSERA_IO_DATA) + "/zarr/" + name);
  }
  template <typename T>
  std::vector<T> region(const ZarrArray& array, const Shape& start, const Shape& count) const {
    std::vector<T> out(static_cast<std::size_t>(element_count(count)));
    array.read_region(start, count, reinterpret_cast<std::byte*>(out.data()));
    return out;
  }
  // Elements count up; the last one of a store lies in a chunk that was never written.
  template <typename T>
  void expect_values(const std::string& name, T fill) const {
    SCOPED_TRACE(name);
    const ZarrArray array = open(name);
    ASSERT_EQ(array.metadata().shape, (Shape{5, 7}));
    for (const Shape& start : {Shape{0, 0}, Shape{1, 2}, Shape{2, 3}, Shape{4, 6}}) {
      for (const Shape& end : {Shape{5, 7}, Shape{4, 6}, Shape{5, 4}}) {
        if (start[0] >= end[0] || start[1] >= end[1]) continue;
        const Shape count{end[0] - start[0], end[1] - start[1]};
        const std::vector<T> got = region<T>(array, start, count);
        std::size_t at = 0;
        for (std::int64_t i = start[0]; i < end[0]; ++i) {
          for (std::int64_t j = start[1]; j < end[1]; ++j, ++at) {
            const T value = i == 4 && j == 6 ? fill : static_cast<T>(static_cast<float>(7 * i + j));
            EXPECT_EQ(got[at], value) << i << ' ' << j;
          }
        }
      }
    }
  }
  std::string broken(const std::string& metadata, const char* name = ".zarray") const {
    std::filesystem::create_directories(path("x"));
    write_bytes(path("x/") + name, metadata);
    const std::string text = error_text<IoError>([&] { ZarrArray::open(fs_, path("x")); });
    std::filesystem::remove_all(path("x"));
    return text;
  }
};

TEST_F(Zarr, ReadsWhatZarrPythonWrote) {
  expect_values<double>("v2_none", -1.0);
  expect_values<std::int32_t>("v2_zlib", -1);
  expect_values<std::complex<double>>("v2_zstd", -1.0);
  expect_values<float>("v3_default", -1.0F);
  expect_values<std::int16_t>("v3_gzip", -1);
  expect_values<std::int64_t>("v3_big", -1);
  EXPECT_EQ(open("v3_default").metadata().dimensions, (std::vector<std::string>{"y", "x"}));
#ifdef TESSERA_HAVE_BLOSC
  expect_values<float>("v2_blosc", -1.0F);
  expect_values<std::uint8_t>("v3_blosc", 255);
#else
  EXPECT_NE(error_text<IoError>([&] { open("v2_blosc"); }).find("got \"blosc\" in"),
            std::string::npos);
#endif
}

TEST_F(Zarr, MetadataThatSayNothingAreNamed) {
  const auto with = [](const std::string& field, const std::string& value) {
    std::string text = R"({"zarr_format": 2, "shape": [5, 7], "chunks": [2, 3], "dtype": "<f8",
        "compressor": null, "fill_value": null, "order": "C", "filters": null})";
    const std::size_t at = text.find("\"" + field + "\": ") + field.size() + 4;
    std::size_t end = at;
    for (int depth = 0; depth > 0 || (text[end] != ',' && text[end] != '}'); ++end)
      depth += text[end] == '[' ? 1 : text[end] == ']' ? -1 : 0;
    return text.replace(at, end - at, value);
  };
  EXPECT_EQ(broken(with("order", "\"C\"")), "no error");
  EXPECT_NE(broken("{").find("metadata must be a JSON object; got " + path("x/.zarray")),
            std::string::npos);
  EXPECT_NE(broken("{}").find("field \"zarr_format\" of an array must be valid"),
            std::string::npos);
  EXPECT_NE(broken(with("zarr_format", "1")).find("zarr_format"), std::string::npos);
  EXPECT_NE(broken(with("shape", "[5, -7]")).find("field \"shape\""), std::string::npos);
  EXPECT_NE(broken(with("shape", "[5.5, 7]")).find("field \"shape\""), std::string::npos);
  EXPECT_NE(broken(with("shape", "\"all\"")).find("field \"shape\""), std::string::npos);
  EXPECT_NE(broken(with("shape", "[4611686018427387904, 4611686018427387904]")).find("63 bits"),
            std::string::npos);
  EXPECT_NE(broken(with("chunks", "[0, 3]")).find("field \"chunks\""), std::string::npos);
  EXPECT_NE(broken(with("chunks", "[2]")).find("1 axes instead of 2"), std::string::npos);
  EXPECT_NE(broken(with("dtype", "\"<M8[ns]\"")).find("field \"dtype\""), std::string::npos);
  EXPECT_NE(broken(with("order", "\"F\"")).find("only \"C\" is read"), std::string::npos);
  EXPECT_NE(broken(with("filters", R"([{"id": "delta"}])")).find("field \"filters\""),
            std::string::npos);
  EXPECT_NE(broken(with("compressor", R"({"id": "lzma"})")).find("got \"lzma\" in"),
            std::string::npos);
  EXPECT_NE(broken(with("compressor", "5")).find("zarr"), std::string::npos);
  EXPECT_NE(broken(with("fill_value", "\"much\"")).find("field \"fill_value\""), std::string::npos);
  EXPECT_NE(broken(R"({"zarr_format": 3, "node_type": "group"})", "zarr.json").find("node_type"),
            std::string::npos);
}

TEST_F(Zarr, ADamagedChunkIsNamed) {
  std::filesystem::copy(std::string(TESSERA_IO_DATA) + "/zarr", path("s"),
                        std::filesystem::copy_options::recursive);
  const auto damage = [&](const std::string& store, const std::string& chunk, bool cut) {
    const std::string file = path("s/") + store + "/" + chunk;
    std::string bytes = fs_.read_file(file);
    if (cut) bytes.pop_back();
    if (!cut) bytes[bytes.size() / 2] = static_cast<char>(~bytes[bytes.size() / 2]);
    write_bytes(file, bytes);
    const ZarrArray array = ZarrArray::open(fs_, path("s/") + store);
    const std::string text = error_text<IoError>([&] { region<double>(array, {0, 0}, {2, 3}); });
    EXPECT_NE(text.find("got " + file), std::string::npos) << text;
  };
  damage("v2_none", "0.0", true);
  damage("v2_zlib", "0.0", true);
  damage("v2_zstd", "0.0", true);
  damage("v3_gzip", "c/0/0", true);
  damage("v3_gzip", "c/0/0", false);
#ifdef TESSERA_HAVE_BLOSC
  damage("v2_blosc", "0/0", true);
#endif
}

// Several processes write one array: names that no other call has say whose it is.
class ZarrWriters : public Zarr {
 protected:
  ZarrWriter create(Writers who, const std::string& call, const std::string& beginning) const {
    ZarrMetadata metadata;
    metadata.shape = {4};
    metadata.chunks = {2};
    metadata.dtype = DType::kFloat64;
    return ZarrWriter::create(fs_, path("x/"), std::move(metadata), 1,
                              {who, call, beginning, true});
  }
  static void write(const ZarrWriter& writer, std::int64_t start, double value) {
    const double values[2] = {value, value};
    writer.write_chunk({start}, {2}, reinterpret_cast<const std::byte*>(values));
  }
  std::vector<double> values() const {
    return region<double>(ZarrArray::open(fs_, path("x")), {0}, {4});
  }
  std::vector<std::string> names() const { return fs_.list(path("x")); }
};

TEST_F(ZarrWriters, ALeaderGoesOnWithWhatAnotherOfTheSameCallHasBegun) {
  ZarrWriter first = create(Writers::kLeader, "7-1", "7-1");
  write(first, 0, 1.0);
  first.abandon();
  ZarrWriter next = create(Writers::kNextLeader, "7-1", "7-3");
  const ZarrWriter other = create(Writers::kOther, "7-1", "7-3");
  EXPECT_TRUE(next.has_chunk({0}));
  EXPECT_FALSE(next.has_chunk({2}));
  write(other, 2, 2.0);
  next.finish();
  EXPECT_EQ(values(), (std::vector<double>{1.0, 1.0, 2.0, 2.0}));
  EXPECT_EQ(names(), (std::vector<std::string>{".zarray", "0", "1"}));
}

TEST_F(ZarrWriters, ALeaderTouchesNothingOfAnotherCall) {
  {
    ZarrWriter first = create(Writers::kLeader, "7-1", "7-1");
    write(first, 0, 1.0);
    first.abandon();
  }
  for (const Writers who : {Writers::kLeader, Writers::kNextLeader}) {
    const std::string text = error_text<IoError>([&] { create(who, "7-2", "7-2"); });
    EXPECT_NE(text.find("which exists"), std::string::npos) << text;
  }
  EXPECT_EQ(names(), (std::vector<std::string>{".7-1.7-1.partial", "0"}));
}

TEST_F(ZarrWriters, ALeaderBeginsWhereNothingIsYet) {
  ZarrWriter next = create(Writers::kNextLeader, "7-1", "7-3");
  write(next, 0, 1.0);
  write(next, 2, 2.0);
  next.finish();
  EXPECT_EQ(values(), (std::vector<double>{1.0, 1.0, 2.0, 2.0}));
}

// Whoever is given up and wakes up changes nothing any more.
TEST_F(ZarrWriters, OneThatTheOthersWentOnWithoutWritesNothing) {
  ZarrWriter asleep = create(Writers::kLeader, "7-1", "7-1");
  const ZarrWriter also_asleep = create(Writers::kOther, "7-1", "7-1");
  write(asleep, 0, 1.0);
  ZarrWriter next = create(Writers::kNextLeader, "7-1", "7-3");
  const auto expect_refused = [](const std::function<void()>& call) {
    const std::string text = error_text<IoError>(call);
    EXPECT_NE(text.find("the others have gone on without this one"), std::string::npos) << text;
  };
  expect_refused([&] { write(also_asleep, 0, 9.0); });
  expect_refused([&] { asleep.finish(); });
  write(next, 2, 2.0);
  next.finish();
  expect_refused([&] { write(asleep, 2, 9.0); });
  { const ZarrWriter gone = std::move(asleep); }
  EXPECT_EQ(values(), (std::vector<double>{1.0, 1.0, 2.0, 2.0}));
}

TEST_F(ZarrWriters, WhatIsNotFinishedIsRemoved) {
  {
    const ZarrWriter leader = create(Writers::kLeader, "7-1", "7-1");
    write(leader, 0, 1.0);
  }
  EXPECT_FALSE(fs_.find(path("x")));
}

// Whatever call fails, of one process and of several.
TEST_F(ZarrWriters, WhatFailsLeavesNothing) {
  for (const Writers who : {Writers::kOne, Writers::kLeader}) {
    bool fired = true;
    for (std::uint64_t nth = 1; fired; ++nth) {
      core::FaultyCalls calls({.nth = nth, .error = ENOSPC});
      const core::FileSystem faulty(calls);
      ZarrMetadata metadata;
      metadata.shape = {4};
      metadata.chunks = {2};
      metadata.dimensions = {"time"};
      bool failed = false;
      try {
        ZarrWriter writer = ZarrWriter::create(faulty, path("x"), std::move(metadata), 1,
                                               {who, "7-1", "7-1", true});
        write(writer, 0, 1.0);
        write(writer, 2, 1.0);
        writer.finish();
      } catch (const IoError&) {
        failed = true;
      }
      fired = calls.fired();
      if (failed) {
        EXPECT_EQ(fs_.list(path("")), (std::vector<std::string>{})) << "call " << nth;
      } else {
        EXPECT_EQ(values(), (std::vector<double>(4, 1.0)));
      }
      std::filesystem::remove_all(path("x"));
    }
  }
}

// A leader that is lost over the end of it leaves what another one finishes.
TEST_F(ZarrWriters, ALeaderMayBeLostWhileItFinishes) {
  bool fired = true;
  for (std::uint64_t nth = 1; fired; ++nth) {
    ZarrWriter first = create(Writers::kLeader, "7-1", "7-1");
    write(first, 0, 1.0);
    write(first, 2, 2.0);
    first.abandon();
    // From some call on it does nothing any more.
    core::FaultyCalls calls({.nth = nth, .error = EIO, .persistent = true});
    const core::FileSystem faulty(calls);
    try {
      ZarrMetadata metadata;
      metadata.shape = {4};
      metadata.chunks = {2};
      ZarrWriter dying = ZarrWriter::create(faulty, path("x"), std::move(metadata), 1,
                                            {Writers::kNextLeader, "7-1", "7-2", true});
      dying.finish();
    } catch (const IoError&) {
    }
    fired = calls.fired();
    if (fired) {
      ZarrWriter next = create(Writers::kNextLeader, "7-1", "7-3");
      EXPECT_TRUE(next.has_chunk({0}) && next.has_chunk({2}));
      next.finish();
    }
    EXPECT_EQ(values(), (std::vector<double>{1.0, 1.0, 2.0, 2.0})) << "call " << nth;
    EXPECT_EQ(names(), (std::vector<std::string>{".zarray", "0", "1"})) << "call " << nth;
    std::filesystem::remove_all(path("x"));
  }
}

TEST_F(ZarrWriters, AChunkOfAnotherSizeIsNotThere) {
  const ZarrWriter leader = create(Writers::kLeader, "7-1", "7-1");
  write_bytes(path("x/0"), "half of it");
  EXPECT_FALSE(leader.has_chunk({0}));
}

}  // namespace
}  // namespace tessera::io
