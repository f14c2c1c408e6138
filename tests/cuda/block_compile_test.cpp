#include "kernels/cuda/block_sources.hpp"
#include "kernels/cuda/groupby_source.hpp"
#include "tests/cuda/compile_fixture.hpp"

namespace tessera::kernels::cuda {
namespace {

using BlockCompile = test::CompileMachine;

// Copies, gathers, products of integers, what stands around sorting and factorisations.
TEST_F(BlockCompile, EverySourceOnEveryArchitecture) {
  for (const char* target : {"sm_80", "sm_90", "sm_100"}) {
    begin(target);
    for (const BlockSource& source : block_sources()) {
      const CompiledSource compiled = cache_->prepare(source.text, source.kernels);
      waiting_.push_back([this, compiled, source] {
        const device::cuda::BorrowedQueue queue(*system_, 0);
        for (const std::string& kernel : source.kernels)
          EXPECT_NE(compiled.kernel(*queue, kernel.c_str()), nullptr) << source.name;
      });
    }
    expect_all_fit();
  }
}

// Grouped reductions share their monoids with all others: a dtype of each width.
TEST_F(BlockCompile, EveryGroupedReduction) {
  using core::ReduceOp;
  for (const char* target : {"sm_80", "sm_90", "sm_100"}) {
    begin(target);
    const auto add = [&](std::string text, const char* kernel) {
      const CompiledSource compiled = cache_->prepare(std::move(text), {kernel});
      waiting_.push_back([this, compiled, kernel] {
        const device::cuda::BorrowedQueue queue(*system_, 0);
        EXPECT_NE(compiled.kernel(*queue, kernel), nullptr);
      });
    };
    for (const ReduceOp op :
         {ReduceOp::kSum, ReduceOp::kProd, ReduceOp::kMin, ReduceOp::kMax, ReduceOp::kMean,
          ReduceOp::kVar, ReduceOp::kStd, ReduceOp::kCountNonzero, ReduceOp::kNanSum,
          ReduceOp::kNanProd, ReduceOp::kNanMin, ReduceOp::kNanMax, ReduceOp::kNanMean,
          ReduceOp::kNanVar, ReduceOp::kNanStd}) {
      for (const DType dtype :
           {DType::kInt8, DType::kFloat32, DType::kFloat64, DType::kComplex128}) {
        const bool ordered = core::has_identity(op) || op == ReduceOp::kMean ||
                             op == ReduceOp::kVar || op == ReduceOp::kStd ||
                             op == ReduceOp::kNanMean || op == ReduceOp::kNanVar ||
                             op == ReduceOp::kNanStd;
        if (is_complex(dtype) && !ordered) continue;
        const DType result = core::reduced_dtype(op, dtype);
        add(groupby_source(op, dtype), "fold_groups");
        for (const GroupbyEnd end : {GroupbyEnd::kStored, GroupbyEnd::kFinished})
          add(groupby_merge_source(op, dtype, result, end), "merge_groups_of_blocks");
        if (op == ReduceOp::kSum && !is_integer(dtype))
          add(groupby_merge_source(op, dtype, dtype, GroupbyEnd::kDivided),
              "merge_groups_of_blocks");
      }
    }
    expect_all_fit();
  }
}

}  // namespace
}  // namespace tessera::kernels::cuda
