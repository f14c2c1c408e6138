#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "core/module_loader.hpp"
#include "tests/cuda/program_cuda_fixture.hpp"

namespace tessera::kernels::cuda::test {

using kernels::test::ProgramBuilder;

/// How the operand of a kernel lies.
enum Layout { kContiguous, kPermuted, kBroadcast };

/// A simulated machine that compiles for real, by NVRTC, which needs no device, and launches
/// nothing. What ptxas says of each kernel is kept: no register may be spilled, and registers stay
/// within a budget.
class CompileMachine : public ::testing::Test {
 protected:
  // Of a thread: two blocks of 256 threads fit a multiprocessor. On sm_90 and sm_80 most kernels
  // take fewer than 64.
  static constexpr int kMaxRegisters = 128;

  void SetUp() override {
    const core::LoadedModule module =
        core::load_module("libtessera_cuda.so", TESSERA_CUDA_MODULE_ENTRY);
    if (module.entry == nullptr) GTEST_SKIP() << "there is no CUDA module: " << module.problem;
    table() = reinterpret_cast<const TesseraCudaApi* (*)()>(module.entry)();
    void* cubin = nullptr;
    std::size_t bytes = 0;
    char* log = nullptr;
    const char* const options[] = {"--gpu-architecture=sm_90"};
    const int status = table()->compile("extern \"C\" __global__ void probe() {}", "probe", options,
                                        1, &cubin, &bytes, &log);
    table()->compile_free(cubin);
    table()->compile_free(log);
    if (status != TESSERA_CUDA_OK) {
      GTEST_SKIP() << "NVRTC is not here: " << table()->error_text(TESSERA_CUDA_NVRTC, status);
    }
    api_ = simulated_.api();
    api_.compile = compile_and_note;
    api_.compile_free = table()->compile_free;
    api_.library_load = [](void** library, const void*, std::size_t) {
      *library = &notes();
      return 0;
    };
    api_.library_unload = [](void*) { return 0; };
    api_.library_kernel = [](void** kernel, void*, const char*) {
      *kernel = &notes();
      return 0;
    };
    api_.launch = [](void*, const unsigned*, const unsigned*, std::size_t, void*, void**) {
      return 0;
    };
    system_ = std::make_unique<device::cuda::CudaSystem>(
        api_, device::cuda::CudaSystemOptions{{0}, std::size_t{1} << 20, std::size_t{1} << 20});
  }

  /// What is listed from now on is compiled for this architecture, on the cache's threads.
  void begin(const char* architecture) {
    notes().architecture = architecture;
    notes().kernels.clear();
    cache_ = std::make_unique<KernelCache>(*system_, "/dev/null/none");
  }

  /// Waits for what has been listed.
  void expect_all_fit() {
    for (const auto& wait : waiting_) wait();
    waiting_.clear();
    cache_.reset();
    const std::lock_guard lock(notes().mutex);
    const std::string& architecture = notes().architecture;
    EXPECT_FALSE(notes().kernels.empty());
    std::map<int, int> stacks;
    int most = 0;
    for (const Kernel& k : notes().kernels) {
      EXPECT_TRUE(!k.spills && k.registers > 0 && k.registers <= kMaxRegisters)
          << k.registers << " registers, " << (k.spills ? "spilled, " : "") << architecture << "\n"
          << k.what;
      ++stacks[k.stack_bytes];
      most = std::max(most, k.registers);
    }
    std::string text;
    for (const auto& [bytes, count] : stacks)
      text += std::to_string(count) + " with " + std::to_string(bytes) + " B, ";
    RecordProperty("kernels_by_stack_" + architecture, text);
    RecordProperty("registers_" + architecture, most);
  }

  testing::SimulatedCuda simulated_{{.devices = 1}};
  TesseraCudaApi api_{};
  std::unique_ptr<device::cuda::CudaSystem> system_;
  std::unique_ptr<KernelCache> cache_;
  std::vector<std::function<void()>> waiting_;

 private:
  struct Kernel {
    std::string what;
    int registers = 0;
    int stack_bytes = 0;
    bool spills = false;
  };
  struct Notes {
    std::mutex mutex;
    std::string architecture;
    std::vector<Kernel> kernels;
  };
  static Notes& notes() {
    static Notes instance;
    return instance;
  }
  static const TesseraCudaApi*& table() {
    static const TesseraCudaApi* instance = nullptr;
    return instance;
  }

  // The lines of a generated source that say what it computes; empty where it has none.
  static std::string computation(const std::string& source) {
    const std::size_t begin = source.find("TESSERA_HD void compute(");
    const std::size_t variant = source.find("constexpr int k", begin);
    if (begin == std::string::npos || variant == std::string::npos) return {};
    return source.substr(begin, source.find("}", begin) - begin) +
           source.substr(variant, source.find("\n", variant) - variant);
  }

  // What ptxas says of the kernels of a source.
  static void note(const std::string& source, const std::string& log) {
    static const std::regex entry("Compiling entry function '(\\w+)'");
    static const std::regex memory(
        "(\\d+) bytes stack frame, (\\d+) bytes spill stores, (\\d+) bytes spill loads");
    static const std::regex used("Used (\\d+) registers");
    Kernel kernel;
    std::istringstream lines(log);
    for (std::string line; std::getline(lines, line);) {
      std::smatch match;
      if (std::regex_search(line, match, entry)) kernel.what = match[1].str() + computation(source);
      if (std::regex_search(line, match, memory)) {
        kernel.stack_bytes = std::max(kernel.stack_bytes, std::stoi(match[1]));
        kernel.spills = kernel.spills || match[2] != "0" || match[3] != "0";
      }
      if (!std::regex_search(line, match, used)) continue;
      kernel.registers = std::stoi(match[1]);
      notes().kernels.push_back(std::exchange(kernel, {}));
    }
  }

  // The compiler of the machine: the module's, for an architecture. A source that does not compile
  // is the cache's error.
  static int compile_and_note(const char* source, const char* name, const char* const* options,
                              int count, void** cubin, std::size_t* bytes, char** log) {
    std::vector<const char*> all(options, options + count);
    const std::string target = "--gpu-architecture=" + notes().architecture;
    for (const char*& option : all) {
      if (std::string_view(option).starts_with("--gpu-architecture")) option = target.c_str();
    }
    all.push_back("--ptxas-options=-v");
    const int status =
        table()->compile(source, name, all.data(), static_cast<int>(all.size()), cubin, bytes, log);
    const std::lock_guard lock(notes().mutex);
    note(source, *log != nullptr ? *log : "");
    return status;
  }
};

}  // namespace tessera::kernels::cuda::test
