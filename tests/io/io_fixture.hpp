#pragma once

#include <gtest/gtest.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "core/file_system.hpp"
#include "io/region.hpp"
#include "tessera/error.hpp"

namespace tessera::io {

/// A folder in memory where there is one: fault tests sync hundreds of files.
inline std::string memory_folder() {
  return ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : testing::TempDir();
}

/// A fresh folder for each test, removed after it.
class IoFixture : public testing::Test {
 protected:
  IoFixture() {
    std::string pattern = memory_folder() + "/tessera_io_XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
  }
  ~IoFixture() override { std::filesystem::remove_all(folder_); }
  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  std::size_t file_count() const {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator(folder_), {}));
  }

  const core::FileSystem& fs_ = core::posix_file_system();
  std::string folder_;
};

/// The text of the error of type E that `call` throws, "no error" without one.
template <typename E, typename Call>
std::string error_text(Call call) {
  try {
    call();
  } catch (const E& error) {
    return error.what();
  }
  return "no error";
}

inline void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

/// What a Python program prints; sets `ok` to whether it ended well.
inline std::string run_python(const std::string& program, const std::string& folder, bool& ok) {
  const std::string script = folder + "/oracle.py";
  write_bytes(script, program);
  FILE* pipe = ::popen((std::string(TESSERA_PYTHON) + " " + script + " 2>&1").c_str(), "r");
  std::string output;
  char buffer[4096];
  for (std::size_t count; (count = ::fread(buffer, 1, sizeof buffer, pipe)) > 0;)
    output.append(buffer, count);
  ok = ::pclose(pipe) == 0;
  std::filesystem::remove(script);
  return output;
}

/// Whether the oracle's interpreter can import a module.
inline bool python_has(const std::string& module) {
  return std::system((std::string(TESSERA_PYTHON) + " -c 'import " + module + "' >/dev/null 2>&1")
                         .c_str()) == 0;
}

#define TESSERA_NEEDS_PYTHON(module) \
  if (!python_has(module)) GTEST_SKIP() << TESSERA_PYTHON << " cannot import " << module

inline Shape random_shape(std::mt19937_64& random, int max_rank, std::int64_t max_extent) {
  Shape shape(random() % static_cast<std::uint64_t>(max_rank + 1));
  for (auto& extent : shape)
    extent = 1 + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(max_extent));
  return shape;
}

inline void random_region(std::mt19937_64& random, const Shape& shape, Shape& start, Shape& count) {
  start.clear();
  count.clear();
  for (const std::int64_t extent : shape) {
    start.push_back(static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(extent + 1)));
    count.push_back(static_cast<std::int64_t>(
        random() % static_cast<std::uint64_t>(extent - start.back() + 1)));
  }
}

/// A region of a dense C-order array by one index calculation for each element.
inline std::string slice_bytes(const std::string& array, const Shape& shape, const Shape& start,
                               const Shape& count, std::size_t width) {
  std::string result;
  const std::int64_t elements = region_elements(count);
  for (std::int64_t i = 0; i < elements; ++i) {
    std::int64_t rest = i;
    std::int64_t offset = 0;
    std::int64_t stride = 1;
    for (std::size_t axis = shape.size(); axis-- > 0;) {
      offset += (start[axis] + rest % count[axis]) * stride;
      rest /= count[axis];
      stride *= shape[axis];
    }
    result.append(array, static_cast<std::size_t>(offset) * width, width);
  }
  return result;
}

}  // namespace tessera::io
