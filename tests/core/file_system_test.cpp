#include "core/file_system.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <vector>

#include "core/module_loader.hpp"
#include "tessera/error.hpp"
#include "tests/core/faulty_file_system.hpp"

namespace tessera::core {
namespace {

class FileSystemTest : public testing::Test {
 protected:
  FileSystemTest() {
    // In memory where there is such a folder: the fault tests sync hundreds of files.
    const bool memory = ::access("/dev/shm", W_OK) == 0;
    std::string pattern =
        (memory ? std::string("/dev/shm") : testing::TempDir()) + "/tessera_fs_XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
  }
  ~FileSystemTest() override { std::filesystem::remove_all(folder_); }
  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  std::size_t file_count() const {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator(folder_), {}));
  }

  const FileSystem& real_ = posix_file_system();
  std::string folder_;
};

template <typename Call>
std::string io_error(Call call) {
  try {
    call();
  } catch (const IoError& error) {
    return error.what();
  }
  return "no error";
}

std::string pattern_bytes(std::size_t size, int seed) {
  std::string bytes(size, '\0');
  for (std::size_t i = 0; i < size; ++i)
    bytes[i] = static_cast<char>((i * 131 + static_cast<std::size_t>(seed)) % 251);
  return bytes;
}

TEST_F(FileSystemTest, WritesAndReadsAtOffsets) {
  File file = real_.create(path("a"));
  file.truncate(10);
  file.pwrite_all("xyz", 3, 4);
  file.fsync();
  EXPECT_EQ(file.size(), 10u);
  file.close();
  EXPECT_FALSE(file.is_open());
  EXPECT_EQ(real_.read_file(path("a")), std::string("\0\0\0\0xyz\0\0\0", 10));
  char bytes[8] = {};
  const File in = real_.open(path("a"));
  EXPECT_EQ(in.pread_up_to(bytes, 8, 5), 5u);
  EXPECT_EQ(std::string(bytes, 2), "yz");
  EXPECT_EQ(in.pread_up_to(bytes, 8, 100), 0u);
}

TEST_F(FileSystemTest, ErrorsNameOperationPathAndReason) {
  EXPECT_EQ(io_error([&] { real_.open(path("missing"), "npy"); }),
            "[npy] a file must exist and be readable; got " + path("missing") +
                ": No such file or directory; try checking the spelling of the path and that its "
                "folder exists");
  EXPECT_NE(io_error([&] {
              real_.create(path("no/file"));
            }).find("[create] a file must be writable; got "),
            std::string::npos);
  EXPECT_NE(io_error([&] { real_.read_file(folder_); }).find("Is a directory"), std::string::npos);
  real_.create(path("short")).pwrite_all("12345", 5, 0);
  char bytes[8];
  EXPECT_EQ(io_error([&] { real_.open(path("short"), "zarr").pread_all(bytes, 8, 1); }),
            "[zarr] a file must hold the bytes it declares; got " + path("short") +
                ": ends at byte 5, wanted 8 bytes from 1; try writing or copying the file again");
}

TEST_F(FileSystemTest, FoldersListsAndRemoval) {
  real_.make_directories(path("a/b/c"));
  real_.make_directories(path("a/b/c"));
  EXPECT_TRUE(real_.status(path("a/b/c")).is_directory);
  EXPECT_FALSE(real_.find(path("a/x")).has_value());
  real_.create(path("file"));
  EXPECT_FALSE(real_.find(path("file/x")).has_value());
  EXPECT_NE(io_error([&] { real_.make_directories(path("file/x")); }).find("Not a directory"),
            std::string::npos);
  for (const char* name : {"t10.nc", "t2.nc", "T1.nc", ".hidden.nc", "t2.txt"})
    real_.create(path(std::string("a/") + name));
  EXPECT_EQ(real_.list(path("a")),
            (std::vector<std::string>{".hidden.nc", "T1.nc", "b", "t2.nc", "t2.txt", "t10.nc"}));
  EXPECT_EQ(real_.glob(path("a/*.nc")),
            (std::vector<std::string>{path("a/T1.nc"), path("a/t2.nc"), path("a/t10.nc")}));
  EXPECT_EQ(real_.glob(path("?/t[0-9].*")),
            (std::vector<std::string>{path("a/t2.nc"), path("a/t2.txt")}));
  EXPECT_EQ(real_.glob(path("file/*")), std::vector<std::string>{});
  EXPECT_EQ(real_.glob(path("nothing*")), std::vector<std::string>{});
  EXPECT_EQ(real_.glob(path("a")), std::vector<std::string>{path("a")});
  EXPECT_EQ(real_.glob(""), std::vector<std::string>{});
  real_.unlink(path("file"));
  real_.remove_directory(path("a/b/c"));
  EXPECT_FALSE(real_.find(path("a/b/c")).has_value());
  EXPECT_GT(real_.free_space(folder_), 0u);
}

TEST(FileSystem, NaturalOrderCountsDigits) {
  std::vector<std::string> names{"b", "a10", "a2",    "a02",  "a1b", "a1",
                                 "a", "",    "a1b10", "a1b9", "a010"};
  std::sort(names.begin(), names.end(), natural_less);
  EXPECT_EQ(names, (std::vector<std::string>{"", "a", "a1", "a1b", "a1b9", "a1b10", "a02", "a2",
                                             "a010", "a10", "b"}));
  for (const auto& a : names) {
    for (const auto& b : names) EXPECT_EQ(natural_less(a, b) || natural_less(b, a), a != b);
  }
  EXPECT_EQ(parent_folder("/a/b"), "/a");
  EXPECT_EQ(parent_folder("/a"), "/");
  EXPECT_EQ(parent_folder("a"), ".");
}

TEST_F(FileSystemTest, StatusChangesWithTheFile) {
  real_.create(path("a")).pwrite_all("1", 1, 0);
  const FileStatus before = real_.status(path("a"));
  EXPECT_EQ(before.size_bytes, 1u);
  EXPECT_EQ(real_.open(path("a")).status(), before);
  ::usleep(20'000);
  real_.create(path("a")).pwrite_all("2", 1, 0);
  EXPECT_NE(real_.status(path("a")), before);
}

TEST_F(FileSystemTest, AtomicFileAppearsWholeOrNotAtAll) {
  {
    AtomicFile file(real_, path("out"), "npy");
    file.file().pwrite_all("half", 4, 0);
    EXPECT_FALSE(real_.find(path("out")).has_value());
    EXPECT_EQ(parent_folder(file.temporary_path()), folder_);
  }
  EXPECT_EQ(file_count(), 0u);
  real_.create(path("out")).pwrite_all("old", 3, 0);
  {
    AtomicFile file(real_, path("out"), "npy");
    AtomicFile moved(std::move(file));
    moved.file().pwrite_all("new one", 7, 0);
    EXPECT_EQ(real_.read_file(path("out")), "old");
    moved.commit();
  }
  EXPECT_EQ(real_.read_file(path("out")), "new one");
  EXPECT_EQ(file_count(), 1u);
}

// Who was given up while it slept gives no file its name any more.
TEST_F(FileSystemTest, AtomicFileThatIsBegunAgainEndsTheOneBefore) {
  AtomicFile asleep(real_, path("out"), "npy", {.tag = "1"});
  AtomicFile leader(real_, path("out"), "npy", {.tag = "2", .instead_of = "1"});
  const AtomicFile other(real_, path("out"), "npy", {.tag = "2", .leader = false});
  other.file().pwrite_all("new", 3, 0);
  EXPECT_THROW(asleep.commit(), IoError);
  EXPECT_FALSE(real_.find(path("out")));
  leader.commit();
  EXPECT_EQ(real_.read_file(path("out")), "new");
  EXPECT_EQ(real_.list(folder_), (std::vector<std::string>{"out"}));
}

TEST_F(FileSystemTest, AtomicFileWritesThroughLinks) {
  real_.make_directories(path("data"));
  real_.create(path("data/file")).pwrite_all("old", 3, 0);
  ASSERT_EQ(::symlink("data/second", path("first").c_str()), 0);
  ASSERT_EQ(::symlink("file", path("data/second").c_str()), 0);
  ASSERT_EQ(::symlink(path("data/new").c_str(), path("dangling").c_str()), 0);
  for (const char* name : {"first", "dangling"}) {
    AtomicFile file(real_, path(name), "npy");
    EXPECT_EQ(parent_folder(file.temporary_path()), path("data"));
    file.file().pwrite_all(name, 5, 0);
    file.commit();
    EXPECT_TRUE(std::filesystem::is_symlink(path(name)));
  }
  EXPECT_TRUE(std::filesystem::is_symlink(path("data/second")));
  EXPECT_EQ(real_.read_file(path("data/file")), "first");
  EXPECT_EQ(real_.read_file(path("data/new")), "dangl");
  ASSERT_EQ(::symlink("b", path("a").c_str()), 0);
  ASSERT_EQ(::symlink("a", path("b").c_str()), 0);
  EXPECT_NE(io_error([&] {
              AtomicFile(real_, path("a"), "npy");
            }).find("Too many levels of symbolic links"),
            std::string::npos);
}

TEST_F(FileSystemTest, AtomicFileLeavesSpecialFilesAlone) {
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  ASSERT_EQ(::symlink("pipe", path("link").c_str()), 0);
  for (const char* name : {"pipe", "link"}) {
    EXPECT_EQ(io_error([&] { AtomicFile(real_, path(name), "png"); }),
              "[png] only an ordinary file may be replaced; got " + path(name) +
                  ": a device, pipe or socket; try the path of a file");
  }
  EXPECT_TRUE(std::filesystem::is_fifo(path("pipe")));
  EXPECT_NE(io_error([&] { AtomicFile(real_, folder_, "png"); }).find("Is a directory"),
            std::string::npos);
  EXPECT_EQ(file_count(), 2u);
}

// Every call of a write and a read fails once, and again for good: the error names the file, and
// the final name shows the old content or all of the new one.
TEST_F(FileSystemTest, EveryFailingCallIsReported) {
  const std::string old_bytes = pattern_bytes(1000, 1);
  const std::string new_bytes = pattern_bytes(3000, 2);
  for (const int error : {EIO, ENOSPC, EACCES}) {
    for (const bool persistent : {false, true}) {
      for (std::uint64_t nth = 1;; ++nth) {
        std::filesystem::remove_all(folder_);
        std::filesystem::create_directory(folder_);
        real_.create(path("out")).pwrite_all(old_bytes.data(), old_bytes.size(), 0);
        FaultyFileSystem faulty({nth, error, persistent});
        bool done = false;
        const std::string text = io_error([&] {
          AtomicFile file(faulty, path("out"), "store");
          file.file().reserve(new_bytes.size());
          file.file().pwrite_all(new_bytes.data(), 1000, 0);
          file.file().pwrite_all(new_bytes.data() + 1000, 2000, 1000);
          file.commit();
          done = true;
        });
        const std::string now = real_.read_file(path("out"));
        if (done) {
          EXPECT_EQ(now, new_bytes);
        } else {
          EXPECT_TRUE(now == old_bytes || now == new_bytes) << nth;
          EXPECT_EQ(text.rfind("[store] ", 0), 0u) << text;
          EXPECT_NE(text.find(folder_), std::string::npos) << text;
          EXPECT_NE(text.find("; try "), std::string::npos) << text;
        }
        if (!persistent) {
          EXPECT_EQ(file_count(), 1u) << nth;
        }
        if (!faulty.fired()) {
          EXPECT_TRUE(done);
          break;
        }
        ASSERT_LT(nth, 100u);
      }
    }
  }
}

TEST_F(FileSystemTest, FullDiskNamesNeededAndFreeBytes) {
  FaultyFileSystem faulty({2, ENOSPC, false});
  const File file = faulty.create(path("a"), "npy");
  const std::string text = io_error([&] { file.reserve(12345); });
  EXPECT_NE(text.find("No space left on device (12345 bytes needed, "), std::string::npos) << text;
  EXPECT_NE(text.find(" free); try freeing disk space, or another folder"), std::string::npos)
      << text;
  FaultyFileSystem other({2, ENOSPC, false});
  const std::string written = io_error([&] { other.create(path("b")).pwrite_all("12345", 5, 0); });
  EXPECT_NE(written.find("(5 bytes to write, "), std::string::npos) << written;
}

TEST_F(FileSystemTest, ShortTransfersAndInterruptsAreNoErrors) {
  const std::string bytes = pattern_bytes(5000, 3);
  for (const int error : {0, EINTR}) {
    for (std::uint64_t nth = 1; nth <= 12; ++nth) {
      FaultyFileSystem faulty({nth, error, error == 0});
      {
        const File file = faulty.create(path("a"));
        file.pwrite_all(bytes.data(), bytes.size(), 0);
        file.fsync();
      }
      EXPECT_EQ(faulty.read_file(path("a")), bytes) << nth;
    }
  }
}

TEST(ModuleLoader, SaysWhereItLooked) {
  const LoadedModule module = load_module("libtessera_no_such_module.so", "entry");
  EXPECT_EQ(module.entry, nullptr);
  EXPECT_NE(module.problem.find("libtessera_no_such_module.so: no such file"), std::string::npos);
}

}  // namespace
}  // namespace tessera::core
