#include <gtest/gtest.h>

#include <functional>
#include <mutex>
#include <regex>
#include <sstream>

#include "core/module_loader.hpp"
#include "kernels/cuda/program_reduce.hpp"
#include "kernels/cuda/tasks_cuda.hpp"
#include "tests/cuda/program_cuda_fixture.hpp"

// Every reduction of the generator's closed list, operations in dtypes with the operand in each
// layout, merges and scans, compiled by NVRTC, which needs no device: no register is spilled, and
// registers stay within a budget.

namespace tessera::kernels::cuda {
namespace {

using core::ReduceOp;
using test::ProgramBuilder;

// Of a thread: two blocks of 256 threads fit a multiprocessor.
constexpr int kMaxRegisters = 128;

constexpr ReduceOp kAllOps[] = {
    ReduceOp::kSum,       ReduceOp::kProd,      ReduceOp::kMin,          ReduceOp::kMax,
    ReduceOp::kAny,       ReduceOp::kAll,       ReduceOp::kCountNonzero, ReduceOp::kArgMin,
    ReduceOp::kArgMax,    ReduceOp::kMean,      ReduceOp::kVar,          ReduceOp::kStd,
    ReduceOp::kNanSum,    ReduceOp::kNanProd,   ReduceOp::kNanMin,       ReduceOp::kNanMax,
    ReduceOp::kNanArgMin, ReduceOp::kNanArgMax, ReduceOp::kNanMean,      ReduceOp::kNanVar,
    ReduceOp::kNanStd,    ReduceOp::kNorm2};

bool names_places(ReduceOp op) { return name(op).find("arg") != std::string_view::npos; }

const TesseraCudaApi* module_table = nullptr;
std::string architecture;
std::mutex mutex;
int compiled = 0;
int most_registers = 0;
std::vector<std::string> problems;

// What ptxas says of the kernels of a source.
void read_log(const std::string& log) {
  std::string kernel;
  std::istringstream lines(log);
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (std::regex_search(line, match, std::regex("Compiling entry function '(\\w+)'")))
      kernel = match[1];
    const bool memory = line.find("bytes stack frame") != std::string::npos;
    if (memory && line.find(" 0 bytes spill stores, 0 bytes spill loads") == std::string::npos) {
      problems.push_back(kernel + ": " + line);
    }
    if (!std::regex_search(line, match, std::regex("Used (\\d+) registers"))) continue;
    most_registers = std::max(most_registers, std::stoi(match[1]));
    ++compiled;
  }
}

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
  const std::lock_guard lock(mutex);
  read_log(*log != nullptr ? *log : "");
  return status;
}

/// A simulated machine that compiles for real and launches nothing.
class ReduceCompile : public ::testing::Test {
 protected:
  void SetUp() override {
    const core::LoadedModule module =
        core::load_module("libtessera_cuda.so", TESSERA_CUDA_MODULE_ENTRY);
    if (module.entry == nullptr) GTEST_SKIP() << "there is no CUDA module: " << module.problem;
    module_table = reinterpret_cast<const TesseraCudaApi* (*)()>(module.entry)();
    void* cubin = nullptr;
    std::size_t bytes = 0;
    char* log = nullptr;
    const char* const options[] = {"--gpu-architecture=sm_90"};
    const int status = module_table->compile("extern \"C\" __global__ void probe() {}", "probe",
                                             options, 1, &cubin, &bytes, &log);
    module_table->compile_free(cubin);
    module_table->compile_free(log);
    if (status != TESSERA_CUDA_OK) {
      GTEST_SKIP() << "NVRTC is not here: " << module_table->error_text(TESSERA_CUDA_NVRTC, status);
    }
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

  void begin(const char* target) {
    architecture = target;
    compiled = 0;
    most_registers = 0;
    problems.clear();
    cache_ = std::make_unique<KernelCache>(*system_, "/dev/null/none");
  }

  /// Waits for what has been asked for.
  void expect_all_fit() {
    for (const auto& wait : waiting_) wait();
    waiting_.clear();
    cache_.reset();
    EXPECT_GT(compiled, 0);
    EXPECT_LE(most_registers, kMaxRegisters) << architecture;
    for (const std::string& problem : problems) ADD_FAILURE() << architecture << ", " << problem;
    RecordProperty("registers_" + architecture, most_registers);
  }

  enum Layout { kContiguous, kPermuted, kBroadcast };

  /// The reduction of an array of 2048 x 2048.
  void reduce(ReduceOp op, DType dtype, Layout layout, std::vector<bool> reduced) {
    ProgramBuilder b(2);
    const int x = b.load(dtype);
    b.reduce(op, x, names_places(op) ? b.index() : -1);
    b.program.reductions[0].finish = true;
    b.program.reduced = std::move(reduced);
    static const std::vector<std::int64_t> shape{2048, 2048}, rows{2048, 1}, columns{1, 2048},
        repeated{1, 0};
    const std::byte* const somewhere = reinterpret_cast<const std::byte*>(std::uintptr_t{4096});
    const SourceOperand load{somewhere, layout == kContiguous ? rows
                                        : layout == kPermuted ? columns
                                                              : repeated};
    const SourceIndex index{0, rows};
    const std::size_t indices = names_places(op) ? 1 : 0;
    const auto reducer = std::make_shared<ProgramReducer>(*cache_, b.program);
    reducer->expect({shape, {&load, 1}, {&index, indices}, {}});
    waiting_.push_back([this, reducer, load, index, indices] {
      const device::cuda::BorrowedQueue queue(*system_, 0);
      const device::Buffer scratch = queue->memory().allocate(kScratchBytes);
      std::byte* const nowhere = scratch.data();
      reducer->run(*queue, {shape, {&load, 1}, {&index, indices}, {}}, {&nowhere, 1},
                   scratch.data());
    });
  }

  /// A task on blocks that nothing touches.
  void add(std::unique_ptr<TaskKernel> kernel) {
    waiting_.push_back([this, task = std::shared_ptr<TaskKernel>(std::move(kernel))] {
      const device::cuda::BorrowedQueue queue(*system_, 0);
      const device::Buffer scratch = queue->memory().allocate(kScratchBytes);
      static const std::vector<std::int64_t> coords{0, 0};
      const std::vector<Piece> pieces(2, {0, scratch.data()});
      const std::vector<std::uint32_t> offsets{0, 1, 2};
      const std::vector<std::byte*> outputs(2, scratch.data());
      TaskArgs args;
      args.coords = coords;
      args.pieces = pieces;
      args.piece_offsets = offsets;
      args.outputs = outputs;
      args.scratch = scratch.data();
      args.queue = &*queue;
      task->run(args);
    });
  }

  static constexpr std::size_t kScratchBytes = 4096;
  testing::SimulatedCuda simulated_{{.devices = 1}};
  TesseraCudaApi api_{};
  std::unique_ptr<device::cuda::CudaSystem> system_;
  std::unique_ptr<KernelCache> cache_;
  std::vector<std::function<void()>> waiting_;
};

TEST_F(ReduceCompile, EveryOperationInEveryDTypeAndLayout) {
  begin("sm_90");
  for (const DType dtype : test::kAllDTypes) {
    for (const ReduceOp op : kAllOps) {
      if (is_complex(dtype) && !has_identity(op)) continue;
      reduce(op, dtype, kContiguous, {true, true});
      reduce(op, dtype, kPermuted, {true, true});
      reduce(op, dtype, kBroadcast, {true, false});
    }
  }
  expect_all_fit();
}

TEST_F(ReduceCompile, OtherArchitecturesAndAxes) {
  for (const char* target : {"sm_80", "sm_90", "sm_100"}) {
    begin(target);
    for (const DType dtype : {int8, int64, float32, float64, complex128}) {
      for (const ReduceOp op : {ReduceOp::kSum, ReduceOp::kMean, ReduceOp::kNanStd, ReduceOp::kMax,
                                ReduceOp::kArgMax}) {
        if (is_complex(dtype) && !has_identity(op)) continue;
        reduce(op, dtype, kContiguous, {true, false});
        reduce(op, dtype, kPermuted, {true, false});
        reduce(op, dtype, kPermuted, {false, true});
      }
    }
    expect_all_fit();
  }
}

TEST_F(ReduceCompile, MergesSumsOfBlocksAndScans) {
  const ChunkGrid grid({AxisChunks::regular(64, 64), AxisChunks::regular(64, 64)});
  begin("sm_90");
  for (const DType dtype : test::kAllDTypes) {
    for (const ReduceOp op : kAllOps) {
      if (is_complex(dtype) && !has_identity(op)) continue;
      MergeSpec spec;
      spec.op = op;
      spec.element = dtype;
      spec.result = reduced_dtype(op, dtype);
      spec.finish = true;
      spec.grid = grid;
      add(make_merge_cuda(*cache_, spec));
    }
    AddBlocksSpec sum;
    sum.grid = grid;
    sum.dtype = dtype;
    add(make_add_blocks_cuda(*cache_, sum));
    if (dtype == bool_) continue;
    for (const ReduceOp op : {ReduceOp::kSum, ReduceOp::kNanProd}) {
      ScanSpec scan;
      scan.op = op;
      scan.axis = 1;
      scan.from = {{{0, 0, 1}, {1, 0, 1}}, grid, dtype};
      scan.grid = grid;
      scan.dtype = dtype;
      scan.carry = core::accumulator_dtypes(op, dtype)[0];
      if (std::unique_ptr<TaskKernel> kernel = make_scan_cuda(*cache_, scan))
        add(std::move(kernel));
      scan.mode = ScanSpec::Mode::kPrefix;
      add(make_scan_cuda(*cache_, scan));
    }
  }
  expect_all_fit();
}

}  // namespace
}  // namespace tessera::kernels::cuda
