#include <gtest/gtest.h>

#include "kernels/cuda/program_reduce.hpp"
#include "kernels/cuda/tasks_cuda.hpp"
#include "tests/cuda/compile_fixture.hpp"
#include "tests/kernels/reduce_ops.hpp"

// Every reduction of the generator's closed list, operations in dtypes with the operand in each
// layout, merges and scans, compiled.

namespace tessera::kernels::cuda {
namespace {

using core::ReduceOp;
using kernels::test::kAllDTypes;
using kernels::test::kAllReduceOps;
using kernels::test::names_places;
using test::kBroadcast;
using test::kContiguous;
using test::kPermuted;
using test::Layout;
using test::ProgramBuilder;

class ReduceCompile : public test::CompileMachine {
 protected:
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
};

TEST_F(ReduceCompile, EveryOperationInEveryDTypeAndLayout) {
  begin("sm_90");
  for (const DType dtype : kAllDTypes) {
    for (const ReduceOp op : kAllReduceOps) {
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
  for (const DType dtype : kAllDTypes) {
    for (const ReduceOp op : kAllReduceOps) {
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
