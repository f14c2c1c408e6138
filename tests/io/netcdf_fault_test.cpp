#include <thread>

#include "io/netcdf/chunk_decode.hpp"
#include "io/netcdf/global_heap.hpp"
#include "tests/core/faulty_file_system.hpp"
#include "tests/io/netcdf_fixture.hpp"

namespace tessera::io {
namespace {

class NetcdfFault : public NetcdfFixture {};

TEST_F(NetcdfFault, EveryTruncationIsAnErrorOrGivesTheRightValues) {
  const std::string values = sample_values(DType::kInt16, 120, 1);
  for (const NetcdfFormat format :
       {NetcdfFormat::kClassic, NetcdfFormat::k64BitData, NetcdfFormat::kNetcdf4}) {
    NetcdfVariableSpec spec;
    spec.dtype = DType::kInt16;
    if (format == NetcdfFormat::kNetcdf4) {
      spec.chunk_shape = {2, 12};
      spec.deflate_level = 1;
      spec.fletcher32 = true;
    }
    write_variable(fs_, path("a.nc"), {10, 12}, spec, values, format, true);
    const std::string whole = fs_.read_file(path("a.nc"));
    const std::size_t step = format == NetcdfFormat::kNetcdf4 ? whole.size() / 150 + 1 : 1;
    std::size_t errors = 0;
    std::size_t lengths = 0;
    for (std::size_t length = 0; length < whole.size(); length += step, ++lengths) {
      write_bytes(path("cut.nc"), whole.substr(0, length));
      try {
        EXPECT_TRUE(read_all(NetcdfFile::open(fs_, path("cut.nc")), "v") == values) << length;
      } catch (const IoError& error) {
        ++errors;
        EXPECT_NE(std::string(error.what()).find(path("cut.nc")), std::string::npos)
            << error.what();
      }
    }
    // At most the padding behind the last value may be missing without harm.
    EXPECT_GE(errors + 4, lengths);
  }
}

TEST_F(NetcdfFault, DamagedChunksAreFound) {
  const std::string values = sample_values(DType::kInt32, 600, 1);
  for (const bool fletcher32 : {false, true}) {
    NetcdfVariableSpec spec;
    spec.dtype = DType::kInt32;
    spec.chunk_shape = {5, 20};
    spec.deflate_level = fletcher32 ? 0 : 3;
    spec.shuffle = true;
    spec.fletcher32 = fletcher32;
    write_variable(fs_, path("a.nc"), {30, 20}, spec, values);
    const std::string whole = fs_.read_file(path("a.nc"));
    const auto layout = NetcdfFile::open(fs_, path("a.nc")).layout("v");
    ASSERT_EQ(layout->chunks.size(), 6u);
    std::mt19937_64 random(2);
    for (int round = 0; round < 60; ++round) {
      const ChunkPlace& chunk = layout->chunks[random() % 6];
      std::string changed = whole;
      changed[chunk.offset + random() % chunk.size_bytes] ^= static_cast<char>(1 << random() % 8);
      write_bytes(path("bad.nc"), changed);
      const std::string text =
          error_text<IoError>([&] { read_all(NetcdfFile::open(fs_, path("bad.nc")), "v"); });
      EXPECT_EQ(
          text.rfind("[netcdf] a chunk must be intact; got " + path("bad.nc") + ": chunk (", 0), 0u)
          << text;
    }
  }
}

// HDF5 1.10 crashes or loops for ever over most of these.
TEST_F(NetcdfFault, DamagedHeapsAreFoundBeforeTheLibraryOpensThem) {
  write_variable(fs_, path("a.nc"), {3, 4, 5}, {}, sample_values(DType::kFloat64, 60, 1));
  const std::string whole = fs_.read_file(path("a.nc"));
  const std::string signature("GCOL\x01\0\0\0", 8);
  const std::size_t heap = whole.find(signature);
  ASSERT_NE(heap, std::string::npos);
  EXPECT_EQ(whole.find(signature, heap + 1), std::string::npos);
  const auto size_at = [&whole](std::size_t place) {
    std::uint64_t size = 0;
    std::memcpy(&size, whole.data() + place + 8, 8);
    return size;
  };
  const std::size_t end = heap + size_at(heap);
  std::size_t objects = 0;
  for (std::size_t place = heap; place + 16 <= end; ++objects) {
    const std::uint64_t size = size_at(place);
    const bool free = place > heap && whole[place] == 0 && whole[place + 1] == 0;
    for (const std::uint64_t wrong :
         {std::uint64_t{end - place + 1}, std::uint64_t{1} << 40, UINT64_MAX - 3}) {
      std::string damaged = whole;
      std::memcpy(damaged.data() + place + 8, &wrong, 8);
      // The heap itself may be longer, but not than the file.
      if (place == heap && wrong <= whole.size() - heap) continue;
      write_bytes(path("bad.nc"), damaged);
      EXPECT_EQ(error_text<IoError>([&] { NetcdfFile::open(fs_, path("bad.nc")); }),
                "[netcdf] the heaps of a file must be intact; got " + path("bad.nc") +
                    ": in the heap at byte " + std::to_string(heap) + " of " +
                    std::to_string(whole.size()) + ", byte " + std::to_string(place) +
                    " begins something of " + std::to_string(wrong) +
                    " bytes; try copying the file again");
    }
    if (free) {
      std::string damaged = whole;
      std::memset(damaged.data() + place + 8, 0, 8);
      write_bytes(path("bad.nc"), damaged);
      EXPECT_NE(error_text<IoError>([&] { NetcdfFile::open(fs_, path("bad.nc")); }), "no error");
    }
    place += place == heap ? 16 : free ? size : 16 + (size + 7) / 8 * 8;
  }
  EXPECT_GT(objects, 3u);
}

TEST_F(NetcdfFault, HeapsAreFoundAtBothEndsOfAFile) {
  const std::string head("\x89HDF\r\n\x1a\n\x02\x08\x08\0\0\0\0\0", 16);
  const std::string bad = std::string("GCOL\x01\0\0\0", 8) + std::string(8, '\xff');
  constexpr std::size_t kWindow = 256 * 1024;
  for (const std::size_t size : {kWindow / 2, kWindow + 5, 2 * kWindow, 3 * kWindow}) {
    for (const std::size_t place :
         {std::size_t{16}, kWindow / 3, kWindow - 17, kWindow - 3, size - kWindow / 4, size - 16}) {
      if (place + bad.size() > size) continue;
      std::string bytes = head + std::string(size - head.size(), 'G');
      bytes.replace(place, bad.size(), bad);
      write_bytes(path("a.nc"), bytes);
      const std::string text =
          error_text<IoError>([&] { check_global_heaps(fs_.open(path("a.nc"), "netcdf")); });
      const bool looked_at = place + 8 <= kWindow || place + 8 + kWindow > size;
      EXPECT_EQ(text != "no error", looked_at) << size << ' ' << place << ' ' << text;
    }
  }
}

TEST_F(NetcdfFault, FourThreadsReadAtOnce) {
  const Shape shape{40, 30, 20};
  const std::string values = sample_values(DType::kFloat32, region_elements(shape), 4);
  for (const Shape& chunks : {Shape{}, Shape{3, 30, 20}, Shape{7, 8, 9}}) {
    NetcdfVariableSpec spec;
    spec.dtype = DType::kFloat32;
    spec.chunk_shape = chunks;
    spec.deflate_level = chunks.empty() ? 0 : 1;
    spec.shuffle = !chunks.empty();
    write_variable(fs_, path("a.nc"), shape, spec, values);
    const NetcdfFile file = NetcdfFile::open(fs_, path("a.nc"));
    std::vector<int> wrong(4, 0);
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        std::mt19937_64 random(t);
        // Also opening files and reading their metadata while others decode.
        const NetcdfFile own = NetcdfFile::open(fs_, path("a.nc"));
        for (int round = 0; round < 40; ++round) {
          Shape start;
          Shape count;
          random_region(random, shape, start, count);
          std::string region(static_cast<std::size_t>(region_elements(count)) * 4, '\0');
          (round % 2 ? own : file).read("v", start, count, region.data());
          wrong[t] += region != slice_bytes(values, shape, start, count, 4);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(wrong, std::vector<int>(4, 0));
  }
}

TEST_F(NetcdfFault, EveryFailingReadCallIsReported) {
  const std::string values = sample_values(DType::kInt32, 600, 1);
  NetcdfVariableSpec spec;
  spec.dtype = DType::kInt32;
  spec.chunk_shape = {5, 20};
  spec.deflate_level = 1;
  write_variable(fs_, path("a.nc"), {30, 20}, spec, values);
  for (const int error : {EIO, EACCES, 0, EINTR}) {
    for (std::uint64_t nth = 1;; ++nth) {
      ASSERT_LT(nth, 100u);
      core::FaultyFileSystem faulty({nth, error, false});
      bool done = false;
      const std::string text = error_text<IoError>([&] {
        EXPECT_TRUE(read_all(NetcdfFile::open(faulty, path("a.nc")), "v") == values);
        done = true;
      });
      if (!done) {
        EXPECT_NE(text.find(path("a.nc")), std::string::npos) << text;
        EXPECT_TRUE(error == EIO || error == EACCES) << text;
      }
      if (!faulty.fired()) break;
    }
  }
}

TEST_F(NetcdfFault, UnfinishedWritesLeaveNothing) {
  {
    NetcdfWriter writer = NetcdfWriter::create(fs_, path("a.nc"));
    writer.add_dimension("x", 3);
    EXPECT_EQ(error_text<InvalidArgument>([&] {
                writer.add_variable({.name = "v", .dtype = DType::kBool, .dimensions = {"x"}});
              }),
              "[netcdf] a dtype must exist in NetCDF; got bool; try an integer dtype, float32 or "
              "float64");
    EXPECT_EQ(error_text<InvalidArgument>(
                  [&] { writer.add_variable({.name = "v", .dimensions = {"y"}}); }),
              "[netcdf] a variable's dimensions must exist; got \"y\" for \"v\"; try add_dimension "
              "first");
    writer.add_variable({.name = "v", .dimensions = {"x"}});
    EXPECT_NE(error_text<IoError>([&] {
                writer.add_variable({.name = "v", .dimensions = {"x"}});
              }).find("[netcdf] variable \"v\" must be definable; got " + path("a.nc")),
              std::string::npos);
    EXPECT_NE(error_text<InvalidArgument>([&] { writer.write("w", {0}, {3}, nullptr); }),
              "no error");
    const double values[4] = {};
    EXPECT_NE(error_text<IoError>([&] { writer.write("v", {0}, {4}, values); }), "no error");
  }
  EXPECT_EQ(file_count(), 0u);
  for (std::uint64_t nth = 1;; ++nth) {
    ASSERT_LT(nth, 50u);
    core::FaultyFileSystem faulty({nth, EIO, false});
    bool done = false;
    const std::string text = error_text<IoError>([&] {
      write_variable(faulty, path("a.nc"), {4}, {}, sample_values(DType::kFloat64, 4, 1));
      done = true;
    });
    if (!done) {
      EXPECT_NE(text.find(folder_), std::string::npos) << text;
    }
    EXPECT_LE(file_count(), 1u);
    if (fs_.find(path("a.nc"))) {
      EXPECT_EQ(read_all(NetcdfFile::open(fs_, path("a.nc")), "v"),
                sample_values(DType::kFloat64, 4, 1));
    }
    if (!faulty.fired()) break;
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directory(folder_);
  }
}

TEST(ChunkDecode, RejectsGarbageOfEverySize) {
  std::mt19937_64 random(6);
  ChunkScratch scratch;
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::byte> raw(random() % 80);
    for (std::byte& byte : raw) byte = static_cast<std::byte>(random());
    std::vector<std::uint32_t> filters;
    for (std::uint64_t n = random() % 4; n > 0; --n)
      filters.push_back(static_cast<std::uint32_t>(1 + random() % 3));
    if (!can_decode(filters)) continue;
    std::vector<std::byte> out(random() % 64);
    // Nothing to expect but an answer without touching foreign memory (run under AddressSanitizer).
    const char* problem = decode_chunk(raw, filters, static_cast<std::uint32_t>(random() % 8),
                                       1u << random() % 4, out, scratch);
    if (filters.empty()) {
      EXPECT_EQ(problem == nullptr, raw.size() == out.size());
    }
  }
  const std::uint32_t bzip2[] = {307};
  EXPECT_FALSE(can_decode(bzip2));
  const std::uint32_t twice[] = {1, 1};
  EXPECT_FALSE(can_decode(twice));
}

}  // namespace
}  // namespace tessera::io
