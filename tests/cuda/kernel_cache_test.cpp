#include "kernels/cuda/kernel_cache.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "kernels/cuda/cubin_folder.hpp"
#include "tessera/error.hpp"
#include "tests/cuda/simulated_cuda.hpp"

namespace tessera::kernels::cuda {
namespace {

namespace fs = std::filesystem;
using device::cuda::BorrowedQueue;
using device::cuda::CudaSystem;

// Counts what reaches the compiler of the table below.
const TesseraCudaApi* original = nullptr;
std::atomic<int> compilations{0};
int counted_compile(const char* source, const char* name, const char* const* options, int count,
                    void** cubin, std::size_t* bytes, char** log) {
  ++compilations;
  return original->compile(source, name, options, count, cubin, bytes, log);
}

std::string writes(int value) {
  return "struct Args { int* to; };\nextern \"C\" __global__ void put_value(const Args args) { "
         "*args.to = " +
         std::to_string(value) + "; }\n";
}

class KernelCacheTest : public ::testing::Test {
 protected:
  KernelCacheTest()
      : folder_(fs::temp_directory_path() / ("tessera_cache_" + std::to_string(::getpid()))) {
    fs::remove_all(folder_);
    original = &simulated_.api();
    api_ = simulated_.api();
    api_.compile = counted_compile;
    system_ = std::make_unique<CudaSystem>(
        api_, device::cuda::CudaSystemOptions{{0, 1}, 1 << 20, 1 << 20});
    compilations = 0;
  }
  ~KernelCacheTest() override { fs::remove_all(folder_); }

  /// What the kernel "put_value" of a source writes on a device.
  int run(const CompiledSource& source, std::size_t device = 0) {
    const BorrowedQueue queue(*system_, device);
    const device::Buffer memory = queue->memory().allocate(sizeof(int));
    void* to = memory.data();
    void* arguments[] = {&to};
    queue->launch(source.kernel(*queue, "put_value"), "put_value", {1, 1, 1}, {1, 1, 1}, 0,
                  arguments);
    int value = 0;
    queue->copy(reinterpret_cast<std::byte*>(&value), memory.data(), sizeof(value));
    queue->wait();
    return value;
  }
  std::vector<fs::path> files() const {
    std::vector<fs::path> out;
    for (const auto& entry : fs::directory_iterator(folder_)) out.push_back(entry.path());
    return out;
  }

  testing::SimulatedCuda simulated_;
  TesseraCudaApi api_{};
  fs::path folder_;
  std::unique_ptr<CudaSystem> system_;
};

TEST_F(KernelCacheTest, CompilesASourceOnce) {
  {
    KernelCache cache(*system_, folder_);
    const CompiledSource one = cache.prepare(writes(1), {"put_value"});
    const CompiledSource two = cache.prepare(writes(2), {"put_value"});
    const CompiledSource again = cache.prepare(writes(1), {"put_value"});
    EXPECT_EQ(run(one), 1);
    EXPECT_EQ(run(again, 1), 1);
    EXPECT_EQ(run(two), 2);
  }
  EXPECT_EQ(compilations, 2);
  EXPECT_EQ(files().size(), 2U);
}

TEST_F(KernelCacheTest, LaterProcessesFindTheFiles) {
  {
    KernelCache cache(*system_, folder_);
    EXPECT_EQ(run(cache.prepare(writes(3), {"put_value"})), 3);
  }
  KernelCache cache(*system_, folder_);
  EXPECT_EQ(run(cache.prepare(writes(3), {"put_value"})), 3);
  EXPECT_EQ(compilations, 1);
}

TEST_F(KernelCacheTest, DamagedAndForeignFilesAreMadeAnew) {
  {
    KernelCache cache(*system_, folder_);
    run(cache.prepare(writes(4), {"put_value"}));
  }
  const fs::path file = files().at(0);
  std::stringstream text;
  text << std::ifstream(file).rdbuf();
  const std::string good = text.str();
  std::string flipped = good;
  flipped[flipped.size() - 2] ^= 1;
  std::string other_key = good;
  other_key[60] ^= 1;
  int made = 1;
  for (const std::string& bad :
       {flipped, other_key, good.substr(0, good.size() / 2), std::string("x"), std::string()}) {
    std::ofstream(file) << bad;
    KernelCache cache(*system_, folder_);
    EXPECT_EQ(run(cache.prepare(writes(4), {"put_value"})), 4);
    EXPECT_EQ(compilations, ++made);
  }
  // Another source's kernel under this one's name.
  CubinFolder(folder_).keep("key", "no cubin");
  fs::rename(CubinFolder(folder_).file_of("key"), file);
  KernelCache cache(*system_, folder_);
  EXPECT_EQ(run(cache.prepare(writes(4), {"put_value"})), 4);
  EXPECT_EQ(compilations, ++made);
}

TEST_F(KernelCacheTest, AFileThatDoesNotLoadIsMadeAnew) {
  {
    KernelCache cache(*system_, folder_);
    run(cache.prepare(writes(5), {"put_value"}));
  }
  KernelCache cache(*system_, folder_);
  simulated_.fail_call(1, 209, "library_load");  // cudaErrorNoKernelImageForDevice
  EXPECT_EQ(run(cache.prepare(writes(5), {"put_value"})), 5);
  EXPECT_EQ(compilations, 2);
}

TEST_F(KernelCacheTest, AFolderThatCannotBeWrittenCostsTimeOnly) {
  std::ofstream(folder_.string()) << "no folder";
  KernelCache cache(*system_, folder_);
  EXPECT_EQ(run(cache.prepare(writes(6), {"put_value"})), 6);
}

TEST_F(KernelCacheTest, WhatDoesNotCompileIsAnInternalErrorWithItsSource) {
  KernelCache cache(*system_, folder_);
  const CompiledSource source = cache.prepare("int first;\nthis is no source\n", {"put_value"});
  for (int attempt = 0; attempt < 2; ++attempt) {
    try {
      run(source);
      FAIL() << "compiled";
    } catch (const Error& error) {
      const std::string text = error.what();
      EXPECT_TRUE(
          text.starts_with("[cuda] internal error: a generated kernel must compile; got \""))
          << text;
      EXPECT_NE(text.find("\n1: int first;\n2: this is no source\n"), std::string::npos) << text;
      EXPECT_NE(text.find("error:"), std::string::npos) << text;
    }
  }
  EXPECT_EQ(compilations, 1);
  EXPECT_FALSE(fs::exists(folder_));
}

TEST_F(KernelCacheTest, AFailingDeviceIsADeviceError) {
  KernelCache cache(*system_, folder_);
  simulated_.fail_call(1, 700, "library_load");
  EXPECT_THROW(run(cache.prepare(writes(7), {"put_value"})), DeviceError);
}

TEST_F(KernelCacheTest, ServesManyThreads) {
  KernelCache cache(*system_, folder_);
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 4; ++i) {
        const int value = 10 + (t + i) % 4;
        if (run(cache.prepare(writes(value), {"put_value"}), static_cast<std::size_t>(t % 2)) ==
            value)
          ++right;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 24);
  EXPECT_EQ(compilations, 4);
}

}  // namespace
}  // namespace tessera::kernels::cuda
