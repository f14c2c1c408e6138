#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "array/attributes.hpp"
#include "kernels/program.hpp"
#include "kernels/task_spec.hpp"

// The task descriptions that the lowering makes. Each says how the blocks a task is given make up what the
// kernel works on; the kernel families are found by kernel().

namespace tessera::kernels {

/// An array as it is stored, and how a task's coordinates read it.
struct ArrayRead {
  array::AffineRead read;  ///< from the task's elements to the stored array's, one for each stored axis
  ChunkGrid grid;          ///< of the stored array
  DType dtype = DType::kFloat64;
};

/// A fused program over every block of `grid`. Input k of the task is what load k reads, one block or, where the
/// stored array is cut otherwise, several; loads of existing memory have no input.
struct ProgramSpec : TaskSpec {
  struct Load {
    ArrayRead from;
    int input = -1;  ///< task input, -1: `memory`
    /// The block holds pair (min, max) of a symmetric array's blocks: below the diagonal, its transpose is read.
    bool mirror = false;
    std::shared_ptr<const std::byte> memory;
    std::vector<std::int64_t> memory_strides;
    std::shared_ptr<const array::CudaMemory> cuda;  ///< of `memory`; null: the host's
  };
  /// base + sum(strides[d] * element coordinate[d])
  struct Index {
    std::int64_t base = 0;
    std::vector<std::int64_t> strides;
  };
  Program program;
  ChunkGrid grid;
  std::vector<Load> loads;
  std::vector<Index> indices;
  const char* kernel() const noexcept override { return "program"; }
  std::string describe() const override { return program.to_string(); }
};

/// Copies regions: part k reads its task input k, fills its box of the output; the rest holds `fill`.
struct AssembleSpec : TaskSpec {
  struct Part {
    ArrayRead from;
    Shape lo, hi;  ///< box of output elements
  };
  ChunkGrid grid;
  DType dtype = DType::kFloat64;
  std::vector<Part> parts;
  std::optional<Scalar> fill;
  const char* kernel() const noexcept override { return "assemble"; }
};

/// Merges the accumulators of the blocks read, in their order, and finishes them if asked to.
struct MergeSpec : TaskSpec {
  core::ReduceOp op = core::ReduceOp::kSum;
  DType element = DType::kFloat64;  ///< dtype of the values that were accumulated
  DType result = DType::kFloat64;   ///< of finished values
  double ddof = 0.0;
  bool finish = false;
  ChunkGrid grid;  ///< of the output
  const char* kernel() const noexcept override { return "merge"; }
  std::string describe() const override { return "merge " + std::string(core::name(op)) + (finish ? ", finish" : ""); }
};

/// One k step of a product: adds a(i, k) b(k, j) to the output block, or starts it. Task grid
/// (batch..., i, j, k), or (pair, k) for a product with its own transpose, where a pair is i <= j.
struct MatmulSpec : TaskSpec {
  ArrayRead a, b;       ///< read by (batch..., m, k) and (batch..., k, n) element coordinates
  ChunkGrid grid;       ///< (batch..., m, n) of the result
  AxisChunks k_chunks;
  bool pairs = false;
  DType dtype = DType::kFloat64;
  const char* kernel() const noexcept override { return "matmul"; }
};

/// Adds the blocks read in a fixed pairwise tree.
struct AddBlocksSpec : TaskSpec {
  ChunkGrid grid;
  DType dtype = DType::kFloat64;
  const char* kernel() const noexcept override { return "add_blocks"; }
};

/// Cumulative operation along an axis. Inputs: the block, then the carry where `carry_input` is set. Outputs:
/// the block and, where `carry_output` is set, the carry after it (which is the predecessor's memory).
struct ScanSpec : TaskSpec {
  core::ReduceOp op = core::ReduceOp::kSum;
  int axis = 0;
  ArrayRead from;
  ChunkGrid grid;
  DType dtype = DType::kFloat64;  ///< of the result
  DType carry = DType::kFloat64;
  enum class Mode : std::uint8_t {
    kChain,   ///< outputs: block, carry; the carry comes in place from the predecessor
    kTotals,  ///< output: the block's total in the carry dtype
    kPrefix,  ///< outputs: exclusive prefix of totals, running total (chained)
    kApply,   ///< inputs: block, prefix; output: block
  };
  Mode mode = Mode::kChain;
  const char* kernel() const noexcept override { return "scan"; }
};

/// Reads a region of something outside into each block.
struct ReadSpec : TaskSpec {
  std::shared_ptr<const core::RegionReader> reader;
  ChunkGrid grid;
  const char* kernel() const noexcept override { return "read"; }
  std::string describe() const override { return "read " + reader->describe(); }
};

/// Copies each block to its place in one dense C-order array in host memory.
struct DeliverSpec : TaskSpec {
  ArrayRead from;
  ChunkGrid grid;
  std::shared_ptr<std::byte> memory;
  const char* kernel() const noexcept override { return "deliver"; }
};

/// A block operation of the array layer: its own attributes decide what runs.
struct BlockSpec : TaskSpec {
  std::shared_ptr<const array::BlockAttributes> attributes;
  struct Io {
    ChunkGrid grid;
    DType dtype = DType::kFloat64;
    std::optional<core::ReduceOp> accumulator;
  };
  std::vector<Io> inputs;
  std::vector<Io> outputs;
  const char* kernel() const noexcept override { return attributes->kernel(); }
  std::string describe() const override { return attributes->describe(); }
};

/// Delayed calls: task i runs calls[i], handing over the blocks of its first inputs, one for each of
/// `arrays`; what other blocks it reads say only that a call before it has run.
struct CallsSpec : TaskSpec {
  std::vector<std::shared_ptr<detail::Call>> calls;
  std::vector<BlockSpec::Io> arrays;
  bool shared = false;  ///< by several ranks: the computation's end says what becomes of the calls
  const char* kernel() const noexcept override { return "calls"; }
  std::string origin(std::int64_t block) const override;
};

/// Task i finds the value of calls[i], which is here or has arrived.
struct CallValuesSpec : TaskSpec {
  std::vector<std::shared_ptr<detail::Call>> calls;
  const char* kernel() const noexcept override { return "call values"; }
  std::string origin(std::int64_t block) const override;
};

/// Writes `true` into its one-element block, after what it reads.
struct AwaitedSpec : TaskSpec {
  const char* kernel() const noexcept override { return "awaited"; }
};

}  // namespace tessera::kernels
