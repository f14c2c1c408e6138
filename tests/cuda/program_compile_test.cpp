#include <gtest/gtest.h>

#include "tests/cuda/compile_fixture.hpp"

// Every kernel of the generator's closed list, operations in dtypes with operands in each layout,
// compiled.

namespace tessera::kernels::cuda {
namespace {

using core::ScalarOp;
using kernels::test::kAllDTypes;
using test::kBroadcast;
using test::kContiguous;
using test::kPermuted;
using test::Layout;
using test::ProgramBuilder;

class ProgramCompile : public test::CompileMachine {
 protected:
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

  /// Calls list(op) for every operation that computes in a dtype.
  template <typename List>
  void list_all(DType dtype, List&& list) {
    for (int i = 0; i < core::kScalarOpCount; ++i) {
      const auto op = static_cast<ScalarOp>(i);
      if (op != ScalarOp::kCast && computes(op, dtype)) list(op);
    }
  }
  static bool computes(ScalarOp op, DType dtype) {
    try {
      return core::infer_dtypes(op, dtype).compute == dtype;
    } catch (const InvalidArgument&) {
      return false;
    }
  }
};

TEST_F(ProgramCompile, EveryOperationInEveryDTypeAndLayout) {
  for (const DType dtype : kAllDTypes) {
    begin("sm_90");
    list_all(dtype, [&](ScalarOp op) {
      for (const Layout layout : {kContiguous, kPermuted, kBroadcast}) compile(op, dtype, layout);
    });
    expect_all_fit();
  }
}

TEST_F(ProgramCompile, OtherArchitectures) {
  for (const char* target : {"sm_80", "sm_100"}) {
    for (const DType dtype : {bool_, int8, int64, float32, float64, complex64, complex128}) {
      begin(target);
      list_all(dtype, [&](ScalarOp op) {
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
