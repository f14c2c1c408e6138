#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <mutex>
#include <regex>

#include "core/module_loader.hpp"
#include "tests/cuda/program_cuda_fixture.hpp"

// Every kernel of the generator's closed list, operations in dtypes with operands in each layout,
// compiled by NVRTC, which needs no device: no register is spilled, and registers stay within a
// budget.

namespace tessera::kernels::cuda {
namespace {

using core::ScalarOp;
using test::ProgramBuilder;

// Of a thread: two blocks of 256 threads fit a multiprocessor. On sm_90 and sm_80 most take fewer
// than 64.
constexpr int kMaxRegisters = 128;

/// What ptxas says of one kernel.
struct Compilation {
  bool compiled = false;
  int registers = 0;
  int stack_bytes = 0;
  bool spills = false;
  std::string what;  ///< the log of a failure, else what the kernel computes
};

std::string computation(const std::string& source) {
  const std::size_t begin = source.find("TESSERA_HD void compute(");
  const std::size_t variant = source.find("constexpr int k", begin);
  return source.substr(begin, source.find("}", begin) - begin) +
         source.substr(variant, source.find("\n", variant) - variant);
}

Compilation read_log(const std::string& log) {
  Compilation out;
  std::smatch match;
  if (std::regex_search(log, match, std::regex("Used (\\d+) registers")))
    out.registers = std::stoi(match[1]);
  const std::regex memory(
      "(\\d+) bytes stack frame, (\\d+) bytes spill stores, (\\d+) bytes spill loads");
  for (std::sregex_iterator it(log.begin(), log.end(), memory), end; it != end; ++it) {
    out.stack_bytes = std::max(out.stack_bytes, std::stoi((*it)[1]));
    out.spills = out.spills || (*it)[2] != "0" || (*it)[3] != "0";
  }
  return out;
}

// The compiler of the machine below: the module's, for an architecture, with the words of ptxas
// kept.
const TesseraCudaApi* module_table = nullptr;
std::string architecture;
std::mutex mutex;
std::vector<Compilation> compilations;

int compile_and_note(const char* source, const char* name, const char* const* options, int count,
                     void** cubin, std::size_t* bytes, char** log) {
  std::vector<const char*> all(options, options + count);
  const std::string target = "--gpu-architecture=" + architecture;
  for (const char*& option : all) {
    if (std::string_view(option).starts_with("--gpu-architecture")) option = target.c_str();
  }
  all.push_back("--ptxas-options=-v");
  const int status = module_table->compile(source, name, all.data(), static_cast<int>(all.size()),
                                           cubin, bytes, log);
  const std::string text = *log != nullptr ? *log : "";
  Compilation compilation = read_log(text);
  compilation.compiled = status == TESSERA_CUDA_OK;
  compilation.what = compilation.compiled ? computation(source) : text;
  const std::lock_guard lock(mutex);
  compilations.push_back(std::move(compilation));
  return status;
}

/// A simulated machine that compiles for real and launches nothing.
class ProgramCompile : public ::testing::Test {
 protected:
  void SetUp() override {
    const core::LoadedModule module =
        core::load_module("libtessera_cuda.so", TESSERA_CUDA_MODULE_ENTRY);
    if (module.entry == nullptr) GTEST_SKIP() << "there is no CUDA module: " << module.problem;
    module_table = reinterpret_cast<const TesseraCudaApi* (*)()>(module.entry)();
    architecture = "sm_90";
    void* cubin = nullptr;
    std::size_t bytes = 0;
    char* log = nullptr;
    const int status = compile_and_note("TESSERA_HD void compute(} constexpr int k\n", "probe",
                                        nullptr, 0, &cubin, &bytes, &log);
    const std::string words = log != nullptr ? log : "";
    module_table->compile_free(log);
    if (words.find("error") == std::string::npos) {
      GTEST_SKIP() << "NVRTC is not here: " << module_table->error_text(TESSERA_CUDA_NVRTC, status)
                   << " " << words;
    }
    compilations.clear();
    api_ = simulated_.api();
    api_.compile = compile_and_note;
    api_.compile_free = module_table->compile_free;
    api_.library_load = [](void** library, const void*, std::size_t) {
      *library = &module_table;
      return 0;
    };
    api_.library_unload = [](void*) { return 0; };
    api_.library_kernel = [](void** kernel, void*, const char*) {
      *kernel = &module_table;
      return 0;
    };
    api_.launch = [](void*, const unsigned*, const unsigned*, std::size_t, void*, void**) {
      return 0;
    };
    system_ = std::make_unique<device::cuda::CudaSystem>(
        api_, device::cuda::CudaSystemOptions{{0}, std::size_t{1} << 20, std::size_t{1} << 20});
  }

  enum Layout { kContiguous, kPermuted, kBroadcast };

  /// The operation on arrays of 1024 x 1024, of which the last operand lies in the given layout.
  void compile(ScalarOp op, DType dtype, Layout layout) {
    ProgramBuilder b(2);
    const int arity = core::info(op).arity;
    int args[3] = {-1, -1, -1};
    for (int i = 0; i < arity; ++i) args[i] = b.load(arity == 3 && i == 0 ? bool_ : dtype);
    b.program.stores.push_back(b.op(op, args[0], args[1], args[2]));
    static const std::vector<std::int64_t> shape{1024, 1024}, rows{1024, 1}, columns{1, 1024},
        repeated{1, 0};
    const std::byte* const aligned = reinterpret_cast<const std::byte*>(std::uintptr_t{4096});
    std::vector<SourceOperand> loads(static_cast<std::size_t>(arity), {aligned, rows});
    if (layout != kContiguous) loads.back().strides = layout == kPermuted ? columns : repeated;
    const SourceOperand store{aligned, rows};
    const auto mapper = std::make_shared<ProgramMapper>(*cache_, b.program);
    mapper->expect({shape, loads, {}, {&store, 1}});
    waiting_.push_back([this, mapper, loads, store] {
      const device::cuda::BorrowedQueue queue(*system_, 0);
      mapper->run(*queue, {shape, loads, {}, {&store, 1}});
    });
  }

  /// Compiles what is listed for one dtype, on the cache's threads.
  template <typename List>
  void compile_all(DType dtype, List&& list) {
    cache_ = std::make_unique<KernelCache>(*system_, "/dev/null/none");
    for (int i = 0; i < core::kScalarOpCount; ++i) {
      const auto op = static_cast<ScalarOp>(i);
      if (op != ScalarOp::kCast && computes(op, dtype)) list(op);
    }
    for (const auto& wait : waiting_) wait();
    waiting_.clear();
    cache_.reset();
  }
  static bool computes(ScalarOp op, DType dtype) {
    try {
      return core::infer_dtypes(op, dtype).compute == dtype;
    } catch (const InvalidArgument&) {
      return false;
    }
  }

  void expect_all_fit() {
    const std::lock_guard lock(mutex);
    std::map<int, int> stacks;
    int most = 0;
    for (const Compilation& c : compilations) {
      EXPECT_TRUE(c.compiled && !c.spills && c.registers > 0 && c.registers <= kMaxRegisters)
          << c.registers << " registers, " << (c.spills ? "spilled, " : "") << architecture << "\n"
          << c.what;
      ++stacks[c.stack_bytes];
      most = std::max(most, c.registers);
    }
    std::string text;
    for (const auto& [bytes, count] : stacks)
      text += std::to_string(count) + " with " + std::to_string(bytes) + " B, ";
    RecordProperty("kernels_by_stack_" + architecture, text);
    RecordProperty("registers_" + architecture, most);
    compilations.clear();
  }

  testing::SimulatedCuda simulated_{{.devices = 1}};
  TesseraCudaApi api_{};
  std::unique_ptr<device::cuda::CudaSystem> system_;
  std::unique_ptr<KernelCache> cache_;
  std::vector<std::function<void()>> waiting_;
};

TEST_F(ProgramCompile, EveryOperationInEveryDTypeAndLayout) {
  for (const DType dtype : test::kAllDTypes) {
    compile_all(dtype, [&](ScalarOp op) {
      for (const Layout layout : {kContiguous, kPermuted, kBroadcast}) compile(op, dtype, layout);
    });
    expect_all_fit();
  }
}

TEST_F(ProgramCompile, OtherArchitectures) {
  for (const char* target : {"sm_80", "sm_100"}) {
    architecture = target;
    for (const DType dtype : {bool_, int8, int64, float32, float64, complex64, complex128}) {
      compile_all(dtype, [&](ScalarOp op) {
        // A cheap operation and the heaviest ones in each layout.
        if (op == ScalarOp::kAdd || op == ScalarOp::kPow || op == ScalarOp::kAsinh ||
            op == ScalarOp::kTan || op == ScalarOp::kFloorDivide) {
          for (const Layout layout : {kContiguous, kPermuted, kBroadcast})
            compile(op, dtype, layout);
        }
      });
      expect_all_fit();
    }
  }
}

}  // namespace
}  // namespace tessera::kernels::cuda
