#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/reduce_op.hpp"
#include "tessera/chunk_grid.hpp"
#include "tessera/dtype.hpp"

// What a task does, as data: one struct for each family of block kernels. A plan holds these; a
// device kind turns them into something it can run through kernels/registry.hpp.

namespace tessera::kernels {

/// Bytes of every block of a stored array: elements of a dtype, or the planes of a reduction's
/// accumulator.
class BlockSize {
 public:
  BlockSize() = default;
  BlockSize(ChunkGrid grid, DType dtype) : grid_(std::move(grid)), dtype_(dtype) { classify(); }
  BlockSize(ChunkGrid grid, DType dtype, core::ReduceOp op)
      : grid_(std::move(grid)), dtype_(dtype), op_(op), accumulator_(true) {
    classify();
  }

  const ChunkGrid& grid() const noexcept { return grid_; }
  DType dtype() const noexcept { return dtype_; }
  bool is_accumulator() const noexcept { return accumulator_; }
  core::ReduceOp op() const noexcept { return op_; }
  /// Blocks that hold nothing and stand for the fact that their task has run.
  static BlockSize nothing(ChunkGrid grid) {
    BlockSize size;
    size.grid_ = std::move(grid);
    size.dtype_ = DType::kBool;
    size.uniform_ = true;
    return size;
  }
  /// Exact bytes of the block's contents.
  std::size_t bytes(std::int64_t block) const noexcept {
    return uniform_ ? max_bytes_ : bytes_of(grid_.block_elements(block));
  }
  std::size_t max_bytes() const noexcept { return max_bytes_; }

 private:
  std::size_t bytes_of(std::int64_t elements) const noexcept;
  void classify();
  ChunkGrid grid_;
  DType dtype_ = DType::kFloat64;
  core::ReduceOp op_ = core::ReduceOp::kSum;
  bool accumulator_ = false;
  bool uniform_ = false;
  std::size_t max_bytes_ = 0;
};

/// Base of all task descriptions.
struct TaskSpec {
  virtual ~TaskSpec() = default;
  /// Name of the kernel family; the registry finds the implementation by it.
  virtual const char* kernel() const noexcept = 0;
  /// Attributes on one line, for plans and traces.
  virtual std::string describe() const { return kernel(); }
  /// The user's source line of one task where tasks of a node come from several; else empty.
  virtual std::string origin([[maybe_unused]] std::int64_t block) const { return {}; }
};

}  // namespace tessera::kernels
