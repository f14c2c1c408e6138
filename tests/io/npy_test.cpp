#include "io/npy/npy.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <complex>
#include <thread>

#include "tests/core/faulty_file_system.hpp"
#include "tests/io/io_fixture.hpp"

namespace tessera::io {
namespace {

class Npy : public IoFixture {
 protected:
  std::string read_all(const std::string& file) const {
    const NpyFile npy = NpyFile::open(fs_, file);
    std::string bytes(
        static_cast<std::size_t>(region_elements(npy.shape())) * itemsize(npy.dtype()), '\0');
    npy.read_region(Shape(npy.shape().size(), 0), npy.shape(), bytes.data());
    return bytes;
  }
  std::string open_error(const std::string& bytes) const {
    write_bytes(path("bad.npy"), bytes);
    return error_text<IoError>([&] { NpyFile::open(fs_, path("bad.npy")); });
  }
};

/// A file of version `major` with this dict, then `data`.
std::string npy_bytes(int major, const std::string& dict, const std::string& data) {
  std::string bytes = "\x93NUMPY";
  bytes += static_cast<char>(major);
  bytes += '\0';
  for (int i = 0; i < (major == 1 ? 2 : 4); ++i)
    bytes += static_cast<char>((dict.size() >> (8 * i)) & 0xff);
  return bytes + dict + data;
}

template <typename T>
std::string raw(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

TEST_F(Npy, ReadsHandMadeHeadersOfAllVersions) {
  const std::string data = raw<std::int32_t>({1, 2, 3, 4, 5, 6});
  for (const int major : {1, 2, 3}) {
    for (const char* dict :
         {"{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }          \n",
          "{\"shape\":(2,3),'fortran_order':False,'descr':'<i4'}",
          "  {'fortran_order': False, 'shape': (2L, 3L,), 'descr': '<i4',}\n\n"}) {
      write_bytes(path("a.npy"), npy_bytes(major, dict, data));
      const NpyFile file = NpyFile::open(fs_, path("a.npy"));
      EXPECT_EQ(file.shape(), (Shape{2, 3}));
      EXPECT_EQ(file.dtype(), DType::kInt32);
      EXPECT_EQ(read_all(path("a.npy")), data);
    }
  }
}

TEST_F(Npy, ReadsFortranOrderAndTheOtherByteOrder) {
  // The array [[1, 2, 3], [4, 5, 6]] column by column, big-endian.
  std::string data;
  for (const int value : {1, 4, 2, 5, 3, 6}) data += std::string{'\0', static_cast<char>(value)};
  write_bytes(path("a.npy"),
              npy_bytes(1, "{'descr': '>u2', 'fortran_order': True, 'shape': (2, 3)}", data));
  EXPECT_EQ(read_all(path("a.npy")), raw<std::uint16_t>({1, 2, 3, 4, 5, 6}));
  std::uint16_t part[2];
  NpyFile::open(fs_, path("a.npy")).read_region({0, 1}, {2, 1}, part);
  EXPECT_EQ(part[0], 2);
  EXPECT_EQ(part[1], 5);
}

TEST_F(Npy, RejectsMalformedHeadersNamingTheField) {
  const std::string good = "{'descr': '<i4', 'fortran_order': False, 'shape': (2,)}";
  const std::string data(8, 'x');
  const auto expect_field = [&](const std::string& bytes, const std::string& field) {
    const std::string text = open_error(bytes);
    EXPECT_NE(text.find("[npy] field " + field + " of the header must be valid; got " +
                        path("bad.npy") + ": "),
              std::string::npos)
        << text;
  };
  EXPECT_EQ(open_error(npy_bytes(1, good, data)), "no error");
  expect_field("", "magic");
  expect_field("PK\x03\x04 a zip archive", "magic");
  expect_field(npy_bytes(4, good, data), "version");
  expect_field(npy_bytes(0, good, data), "version");
  expect_field(std::string("\x93NUMPY\x02\0\x01\0", 10), "length");
  expect_field(std::string("\x93NUMPY\x01\0\xff\xff", 10) + good, "length");
  expect_field(std::string("\x93NUMPY\x02\0\xff\xff\xff\xff", 12) + good, "length");
  const auto dict = [&](const std::string& text) { return npy_bytes(1, text, data); };
  expect_field(dict(""), "dict");
  expect_field(dict("[1, 2]"), "dict");
  expect_field(dict("{'descr': '<i4', 'fortran_order': False, 'shape': (2,)} x"), "dict");
  expect_field(dict("{'descr': '<i4', 'fortran_order': False}"), "shape");
  expect_field(dict("{'descr': '<i4', 'shape': (2,)}"), "fortran_order");
  expect_field(dict("{'fortran_order': False, 'shape': (2,)}"), "descr");
  expect_field(dict("{'descr': '<i4', 'fortran_order': False, 'shape': (2,), 'extra': 1}"),
               "extra");
  expect_field(dict("{'descr': '<i4', 'descr': '<i4', 'fortran_order': False, 'shape': (2,)}"),
               "descr");
  expect_field(dict("{'descr': '<i4', 'fortran_order': 0, 'shape': (2,)}"), "fortran_order");
  for (const char* descr :
       {"'<i3'", "'|O'", "'<U4'", "'i4'", "'<M8[ns]'", "''", "[('a', '<i4')]", "'<i4", "4"}) {
    expect_field(
        dict(std::string("{'descr': ") + descr + ", 'fortran_order': False, 'shape': (2,)}"),
        "descr");
  }
  for (const char* shape :
       {"2", "(2", "(-1,)", "(2.5,)", "('a',)", "(2 3)", "(99999999999999999999,)",
        "(4611686018427387904, 4611686018427387904)", "(9223372036854775807,)"}) {
    expect_field(
        dict(std::string("{'descr': '<i4', 'fortran_order': False, 'shape': ") + shape + "}"),
        "shape");
  }
  std::string deep = "{'descr': '<i4', 'fortran_order': False, 'shape': (";
  for (int i = 0; i < 65; ++i) deep += "1, ";
  expect_field(dict(deep + ")}"), "shape");
}

TEST_F(Npy, EveryTruncationIsAnErrorNamingTheFile) {
  const std::string whole = npy_bytes(
      1, "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 2)}", std::string(48, 'd'));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const std::string text = open_error(whole.substr(0, length));
    EXPECT_EQ(text.rfind("[npy] ", 0), 0u) << length << text;
    EXPECT_NE(text.find(path("bad.npy")), std::string::npos);
  }
  EXPECT_NE(open_error(whole.substr(0, whole.size() - 1))
                .find("[npy] the data must be complete; got " + path("bad.npy") +
                      ": 47 of 48 bytes for shape (3, 2) of float64"),
            std::string::npos);
}

TEST_F(Npy, EveryChangedHeaderByteIsReadOrRejected) {
  const std::string whole = npy_bytes(
      1, "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 2)}", std::string(48, 'd'));
  std::mt19937_64 random(7);
  for (int round = 0; round < 600; ++round) {
    std::string changed = whole;
    for (std::uint64_t n = 1 + random() % 3; n > 0; --n)
      changed[random() % (whole.size() - 48)] = static_cast<char>(random());
    write_bytes(path("bad.npy"), changed);
    try {
      read_all(path("bad.npy"));
    } catch (const IoError& error) {
      EXPECT_NE(std::string(error.what()).find(path("bad.npy")), std::string::npos);
    }
  }
}

TEST_F(Npy, AgreesWithNumpyOnEveryDtypeOrderAndRegion) {
  TESSERA_NEEDS_PYTHON("numpy");
  bool ok = false;
  const std::string output = run_python(
      "import numpy as np, io\n"
      "rng = np.random.default_rng(5)\n"
      "k = 0\n"
      "for t in ['?', 'i1', 'u1', 'i2', 'u2', 'i4', 'u4', 'i8', 'u8', 'f2', 'f4', 'f8', 'c8', "
      "'c16']:\n"
      "  for shape in [(), (0,), (5,), (3, 4), (2, 0, 3), (4, 3, 5), (2, 3, 2, 4)]:\n"
      "    for order in 'CF':\n"
      "      for end in '<>':\n"
      "        dt = np.dtype(t).newbyteorder(end)\n"
      "        a = np.frombuffer(rng.bytes(int(np.prod(shape)) * dt.itemsize), dt).reshape(shape)\n"
      "        if t == '?': a = rng.integers(0, 2, shape).astype(bool)\n"
      "        a = np.array(a, dtype=dt, order=order)\n"
      "        with open(f'" +
          folder_ +
          "/{k}.npy', 'wb') as f:\n"
          "          np.lib.format.write_array(f, a, version=[(1, 0), (2, 0), (3, 0)][k % 3])\n"
          "        n = a.astype(dt.newbyteorder('='), copy=False)\n"
          "        open(f'" +
          folder_ +
          "/{k}.raw', 'wb').write(np.ascontiguousarray(n).tobytes() if n.ndim else n.tobytes())\n"
          "        print(n.dtype.name, shape, sep='|')\n"
          "        k += 1\n",
      folder_, ok);
  ASSERT_TRUE(ok) << output;
  std::istringstream lines(output);
  std::string line;
  std::mt19937_64 random(11);
  int k = 0;
  for (; std::getline(lines, line); ++k) {
    const std::string base = path(std::to_string(k));
    const NpyFile file = NpyFile::open(fs_, base + ".npy");
    EXPECT_EQ(std::string(name(file.dtype())) + "|" + to_string(file.shape()), line);
    const std::string wanted = fs_.read_file(base + ".raw");
    ASSERT_EQ(read_all(base + ".npy"), wanted) << line;
    const std::size_t width = itemsize(file.dtype());
    for (int round = 0; round < 10; ++round) {
      Shape start;
      Shape count;
      random_region(random, file.shape(), start, count);
      std::string region(static_cast<std::size_t>(region_elements(count)) * width, '\0');
      file.read_region(start, count, region.data());
      EXPECT_EQ(region, slice_bytes(wanted, file.shape(), start, count, width));
    }
  }
  EXPECT_EQ(k, 14 * 7 * 4);
}

TEST_F(Npy, ReadsLargeFortranRegionsInPieces) {
  // 3 x 700 x 900 float32 exceeds one transposed piece of 1 MiB.
  const Shape shape{3, 700, 900};
  std::vector<float> disk(3 * 700 * 900);
  std::vector<float> wanted(disk.size());
  for (std::int64_t i = 0; i < 3; ++i) {
    for (std::int64_t j = 0; j < 700; ++j) {
      for (std::int64_t k = 0; k < 900; ++k) {
        const auto value = static_cast<float>(i * 1'000'000 + j * 1000 + k);
        disk[static_cast<std::size_t>(i + 3 * (j + 700 * k))] = value;
        wanted[static_cast<std::size_t>(k + 900 * (j + 700 * i))] = value;
      }
    }
  }
  write_bytes(
      path("f.npy"),
      npy_bytes(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (3, 700, 900)}", raw(disk)));
  EXPECT_TRUE(read_all(path("f.npy")) == raw(wanted));
  std::string region(2 * 650 * 33 * 4, '\0');
  NpyFile::open(fs_, path("f.npy")).read_region({1, 20, 500}, {2, 650, 33}, region.data());
  EXPECT_TRUE(region == slice_bytes(raw(wanted), shape, {1, 20, 500}, {2, 650, 33}, 4));
}

TEST_F(Npy, NumpyReadsWhatIsWritten) {
  TESSERA_NEEDS_PYTHON("numpy");
  const std::vector<DType> dtypes{
      DType::kBool,    DType::kInt8,    DType::kInt16,     DType::kInt32,     DType::kInt64,
      DType::kUInt8,   DType::kUInt16,  DType::kUInt32,    DType::kUInt64,    DType::kFloat16,
      DType::kFloat32, DType::kFloat64, DType::kComplex64, DType::kComplex128};
  const std::vector<Shape> shapes{{}, {0}, {7}, {3, 5}, {2, 3, 4}};
  std::string program = "import numpy as np\n";
  int k = 0;
  for (const DType dtype : dtypes) {
    for (const Shape& shape : shapes) {
      std::string bytes(static_cast<std::size_t>(region_elements(shape)) * itemsize(dtype), '\0');
      for (std::size_t i = 0; i < bytes.size(); ++i)
        bytes[i] = static_cast<char>(dtype == DType::kBool ? i % 2 : i * 37 + 1);
      const std::string base = path(std::to_string(k++));
      NpyWriter writer = NpyWriter::create(fs_, base + ".npy", shape, dtype);
      writer.write_region(Shape(shape.size(), 0), shape, bytes.data());
      writer.finish();
      write_bytes(base + ".raw", bytes);
      EXPECT_EQ(read_all(base + ".npy"), bytes);
      program += "a = np.load('" + base + ".npy'); assert a.dtype.name == '" +
                 std::string(name(dtype)) + "' and a.shape == " + to_string(shape) +
                 " and a.tobytes() == open('" + base + ".raw', 'rb').read()\n";
    }
  }
  bool ok = false;
  const std::string output = run_python(program, folder_, ok);
  EXPECT_TRUE(ok) << output;
}

TEST_F(Npy, HeaderIsAlignedAndLongShapesFit) {
  EXPECT_EQ(npy_header_bytes({2, 3}, DType::kFloat64).size() % 64, 0u);
  EXPECT_EQ(npy_header_bytes({5}, DType::kInt8).substr(10, 57),
            "{'descr': '|i1', 'fortran_order': False, 'shape': (5,), }");
  const Shape deep(64, 1);
  NpyWriter writer = NpyWriter::create(fs_, path("deep.npy"), deep, DType::kInt8);
  const char one = 1;
  writer.write_region(Shape(64, 0), deep, &one);
  writer.finish();
  EXPECT_EQ(NpyFile::open(fs_, path("deep.npy")).shape(), deep);
}

TEST_F(Npy, RejectsDtypesAndShapesThatNoFileHolds) {
  EXPECT_EQ(error_text<InvalidArgument>(
                [&] { NpyWriter::create(fs_, path("a.npy"), {2}, DType::kBFloat16); }),
            "[npy] a dtype must exist in NumPy; got bfloat16; try astype(float32)");
  EXPECT_NE(error_text<InvalidArgument>([&] {
              NpyWriter::create(fs_, path("a.npy"), {INT64_MAX / 2}, DType::kFloat64);
            }).find("an array must fit a file"),
            std::string::npos);
  EXPECT_EQ(file_count(), 0u);
}

TEST_F(Npy, FourThreadsWriteAndReadRegions) {
  const Shape shape{64, 300};
  NpyWriter writer = NpyWriter::create(fs_, path("a.npy"), shape, DType::kInt32);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::int64_t block = t; block < 32; block += 4) {
        const std::int64_t row = block / 2 * 4;
        const std::int64_t column = block % 2 * 150;
        std::vector<std::int32_t> values(4 * 150);
        for (std::int64_t i = 0; i < 600; ++i) {
          values[static_cast<std::size_t>(i)] =
              static_cast<std::int32_t>((row + i / 150) * 300 + column + i % 150);
        }
        writer.write_region({row, column}, {4, 150}, values.data());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  writer.finish();
  const NpyFile file = NpyFile::open(fs_, path("a.npy"));
  threads.clear();
  std::vector<std::int64_t> wrong(4, 0);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::vector<std::int32_t> values(16 * 300);
      file.read_region({16 * t, 0}, {16, 300}, values.data());
      for (std::int64_t i = 0; i < 16 * 300; ++i) {
        wrong[static_cast<std::size_t>(t)] +=
            values[static_cast<std::size_t>(i)] != 16 * 300 * t + i;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<std::int64_t>(4, 0));
}

TEST_F(Npy, UnfinishedAndKilledWritesLeaveNoFileUnderTheName) {
  {
    NpyWriter writer = NpyWriter::create(fs_, path("a.npy"), {4}, DType::kInt8);
    writer.write_region({0}, {4}, "abcd");
  }
  EXPECT_EQ(file_count(), 0u);
  const pid_t child = ::fork();
  if (child == 0) {
    NpyWriter writer = NpyWriter::create(fs_, path("a.npy"), {4}, DType::kInt8);
    writer.write_region({0}, {4}, "abcd");
    ::raise(SIGKILL);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_FALSE(fs_.find(path("a.npy")).has_value());
}

TEST_F(Npy, EveryFailingCallIsReported) {
  std::string bytes(40'000, '\0');
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i % 253);
  for (const int error : {ENOSPC, EIO, EACCES, 0}) {
    for (const bool persistent : {false, true}) {
      for (std::uint64_t nth = 1;; ++nth) {
        ASSERT_LT(nth, 200u);
        std::filesystem::remove_all(folder_);
        std::filesystem::create_directory(folder_);
        core::FaultyFileSystem faulty({nth, error, persistent});
        bool done = false;
        const std::string text = error_text<IoError>([&] {
          NpyWriter writer = NpyWriter::create(faulty, path("a.npy"), {200, 200}, DType::kInt8);
          writer.write_region({0, 0}, {100, 200}, bytes.data());
          writer.write_region({100, 0}, {100, 200}, bytes.data() + 20'000);
          writer.finish();
          std::string back(bytes.size(), '\0');
          NpyFile::open(faulty, path("a.npy")).read_region({0, 0}, {200, 200}, back.data());
          EXPECT_EQ(back, bytes);
          done = true;
        });
        if (fs_.find(path("a.npy"))) {
          EXPECT_EQ(read_all(path("a.npy")), bytes);
        }
        if (!done) {
          EXPECT_NE(text.find(folder_), std::string::npos) << text;
        }
        if (error == 0) {
          EXPECT_TRUE(done);
        }
        if (!faulty.fired()) break;
      }
    }
  }
}

TEST_F(Npy, ReadingAFileThatChangedIsAnError) {
  const std::string whole =
      npy_bytes(1, "{'descr': '|i1', 'fortran_order': False, 'shape': (4,)}", "abcd");
  write_bytes(path("a.npy"), whole);
  const NpyFile file = NpyFile::open(fs_, path("a.npy"));
  char bytes[4];
  file.read_region({0}, {4}, bytes);
  ::usleep(20'000);
  write_bytes(path("a.npy"), whole + "more");
  EXPECT_EQ(error_text<IoError>([&] { file.read_region({0}, {4}, bytes); }),
            "[npy] a file must not change while it is open; got " + path("a.npy") +
                ": another size or modification time than before; try opening it again");
}

}  // namespace
}  // namespace tessera::io
