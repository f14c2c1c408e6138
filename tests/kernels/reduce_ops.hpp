#pragma once

#include <string_view>

#include "core/reduce_op.hpp"

namespace tessera::kernels::test {

using core::ReduceOp;

inline constexpr ReduceOp kAllReduceOps[] = {
    ReduceOp::kSum,       ReduceOp::kProd,      ReduceOp::kMin,          ReduceOp::kMax,
    ReduceOp::kAny,       ReduceOp::kAll,       ReduceOp::kCountNonzero, ReduceOp::kArgMin,
    ReduceOp::kArgMax,    ReduceOp::kMean,      ReduceOp::kVar,          ReduceOp::kStd,
    ReduceOp::kNanSum,    ReduceOp::kNanProd,   ReduceOp::kNanMin,       ReduceOp::kNanMax,
    ReduceOp::kNanArgMin, ReduceOp::kNanArgMax, ReduceOp::kNanMean,      ReduceOp::kNanVar,
    ReduceOp::kNanStd,    ReduceOp::kNorm2};

inline bool names_places(ReduceOp op) { return name(op).find("arg") != std::string_view::npos; }
inline bool is_product(ReduceOp op) { return op == ReduceOp::kProd || op == ReduceOp::kNanProd; }
inline bool is_inexact(DType dtype) { return is_floating(dtype) || is_complex(dtype); }

}  // namespace tessera::kernels::test
