#pragma once

#include "kernels/host/dense_block.hpp"
#include "kernels/specs.hpp"
#include "kernels/task_kernel.hpp"

namespace tessera::kernels::host {

/// Base of the tasks that run a block kernel: the description, and the place of the task's blocks.
template <typename Attributes>
class BlockTask : public TaskKernel {
 public:
  explicit BlockTask(const BlockSpec& spec)
      : spec_(spec), attributes_(static_cast<const Attributes&>(*spec.attributes)) {}

 protected:
  Dense input_block(std::size_t k, const Piece& piece) const {
    return Dense(spec_.inputs[k].grid, piece.block);
  }
  Dense output_block(std::size_t k, const TaskArgs& args) const {
    return Dense(spec_.outputs[k].grid, args.block);
  }
  BlockSpec spec_;
  const Attributes& attributes_;
};

}  // namespace tessera::kernels::host
