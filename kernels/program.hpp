#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/random_spec.hpp"
#include "core/reduce_op.hpp"
#include "core/scalar_op.hpp"
#include "tessera/dtype.hpp"
#include "tessera/scalar.hpp"

// A fused program: straight-line SSA code run once for every point of a block's iteration space. It owns
// what is computed on a point and in which reductions the values end; it does not know where operands lie
// (strides come with each call) nor how a device runs it. Every elementwise chain, generated source and
// block-wise reduction of the engine is one of these, so that host and GPU backends have one thing to run.

namespace tessera::kernels {

enum class InstrKind : std::uint8_t {
  kLoad,      ///< operand `slot` at this point, as dtype `dtype` (the operand's own dtype)
  kConstant,  ///< `constant` as `dtype`
  kIndex,     ///< int64: index `slot`, an affine function of the point's coordinates
  kRandom,    ///< draw for element number args[0] (an int64 value), see `random`
  kOp,        ///< scalar operation on args, computed in `compute_dtype`, yielding `dtype`
};

using core::Distribution;
using core::RandomSpec;

struct Instr {
  InstrKind kind = InstrKind::kLoad;
  core::ScalarOp op = core::ScalarOp::kCast;
  DType dtype = DType::kFloat64;          ///< dtype of the value this instruction yields
  DType compute_dtype = DType::kFloat64;  ///< kOp: the dtype every argument has (kWhere: of args 1 and 2; kCast: of arg 0)
  std::array<int, 3> args{-1, -1, -1};    ///< earlier instructions
  int slot = -1;                          ///< kLoad: operand number; kIndex: index number
  Scalar constant;
  RandomSpec random;
  bool operator==(const Instr&) const = default;
};

/// A reduction of value `value` over the program's reduced axes. Arg-reductions also take `index`, an
/// int64 value that orders and names the elements; ties go to the smaller index.
struct ProgramReduction {
  core::ReduceOp op;
  int value = -1;
  int index = -1;
  bool finish = false;  ///< write the finished value instead of the accumulator planes
  double ddof = 0.0;    ///< used by finish of variances
  bool operator==(const ProgramReduction&) const = default;
};

struct Program {
  int rank = 0;                      ///< axes of the iteration space
  std::vector<Instr> instrs;         ///< SSA: an instruction's value has its own number
  std::vector<int> stores;           ///< values written out, one per dense output of the iteration space's shape
  std::vector<ProgramReduction> reductions;  ///< outputs after the stores
  std::vector<bool> reduced;         ///< one flag per axis, shared by all reductions; empty if there are none
  int load_count = 0;
  int index_count = 0;
  bool operator==(const Program&) const = default;

  /// One line per instruction, stable, for golden plans and cache keys.
  std::string to_string() const;
};

}  // namespace tessera::kernels
