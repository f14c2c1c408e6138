#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "tessera/dtype.hpp"

// The table of elementwise operations: names, arity and dtype rules. It knows nothing of blocks; the
// array layer infers result dtypes from it and the kernels look their bodies up by its enum.

namespace tessera::core {

enum class ScalarOp : std::uint8_t {
#define TESSERA_SCALAR_OP(Enum, name, arity, rule, ulp) Enum,
#include "core/scalar_ops.def"
#undef TESSERA_SCALAR_OP
  kCast,  ///< conversion to the instruction's dtype; not a public operation
};

inline constexpr int kScalarOpCount = static_cast<int>(ScalarOp::kCast) + 1;

/// How operand dtypes turn into the dtype computed in (all operands are cast to it) and the result dtype.
enum class DTypeRule : std::uint8_t {
  kNumeric,        ///< any but bool -> itself
  kNumericOrBool,  ///< anything -> itself (bool add is logical or, bool multiply logical and)
  kReal,           ///< integers and floats -> itself
  kRealOrBool,     ///< integers, floats and bool -> itself
  kFloating,       ///< floats and complex -> itself; bool and integers are computed in float64
  kRealFloating,   ///< floats -> itself; bool and integers are computed in float64
  kRealOf,         ///< itself, complex -> its real dtype
  kAngle,          ///< complex -> its real dtype, float -> itself, integers in float64
  kCompareAny,     ///< anything -> bool
  kCompareReal,    ///< anything but complex -> bool
  kPredicate,      ///< anything numeric -> bool
  kPredicateReal,  ///< floats -> bool
  kLogical,        ///< anything -> bool, operands are taken as "not equal to zero"
  kBitwise,        ///< bool and integers -> itself
  kShift,          ///< integers -> itself
  kSelect,         ///< (bool, T, T) -> T
};

struct ScalarOpInfo {
  ScalarOp op;
  std::string_view name;
  int arity;
  DTypeRule rule;
  double ulp;  ///< largest error of the host kernels, in units in the last place; 0 for exact
};

const ScalarOpInfo& info(ScalarOp op) noexcept;

/// What an operation computes in and what it yields. For kSelect `compute` is the dtype of the two values.
struct OpDTypes {
  DType compute;
  DType result;
};
/// Result of applying the rule of `op` to the promoted operand dtype (of the two values for kSelect).
/// \throws InvalidArgument naming the operation when the rule excludes the dtype.
OpDTypes infer_dtypes(ScalarOp op, DType promoted);

}  // namespace tessera::core
