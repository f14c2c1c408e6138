#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/host/loops.hpp"
#include "kernels/program.hpp"

// A program as the interpreter runs it: the steps of one tile in order, with their loops looked up
// and their values placed in registers. It knows nothing of shapes and strides.

namespace tessera::kernels::host {

/// Bytes of a register's values; with its inputs and output an operation stays in the L1 cache.
inline constexpr std::size_t kRegisterBytes = 16384;

struct ValueInfo {
  DType dtype = DType::kFloat64;
  std::size_t itemsize = 8;
  int reg = -1;              ///< loads and hoisted values have one of their own
  bool used = false;         ///< whether a store or reduction depends on it
  bool hoisted = false;      ///< depends on constants alone: computed once per run
  bool direct_only = false;  ///< a load that only stores and reductions read
  bool random_only = false;  ///< an index that only draws read
  bool drawn_from = false;   ///< numbers the elements of a draw, which reads a dense tile
};

enum class StepKind : std::uint8_t { kConstant, kLoad, kIndex, kRandom, kOp, kStore, kReduce };

struct Step {
  StepKind kind;
  int value;            ///< the value yielded; for stores and reductions the one read
  int target = -1;      ///< operand, index, store or reduction number
  Loop loop = nullptr;  ///< kOp
  int arity = 0;        ///< kOp
  std::array<int, 3> args{-1, -1, -1};
  std::array<bool, 3> last_read{};  ///< kOp: which arguments nothing reads after this step
  int direct_store = -1;  ///< kOp, kRandom: store that may take the result without a register
};

struct ProgramSteps {
  std::vector<ValueInfo> values;
  std::vector<Step> hoisted;
  std::vector<Step> steps;
  int register_count = 0;
  int op_count = 0;                ///< operations of a tile
  std::int64_t tile_elements = 0;  ///< elements that fit a register, for the widest value
  std::int64_t run_elements = 0;   ///< of a tile that is one run: what is next fits the L1 cache, too
  bool reads_only = true;          ///< nothing but loads, stores and reductions
};

/// \throws InvalidArgument when the program is malformed or an operation has no loop for its dtype.
ProgramSteps compile_steps(const Program& program);

}  // namespace tessera::kernels::host
