#include "kernels/cuda/block_sources.hpp"
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

}  // namespace
}  // namespace tessera::kernels::cuda
