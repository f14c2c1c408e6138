#include "array/block_node.hpp"

namespace tessera::array {

std::vector<BlockAxis> same_blocks(int rank) {
  std::vector<BlockAxis> axes(static_cast<std::size_t>(rank));
  for (int i = 0; i < rank; ++i) axes[static_cast<std::size_t>(i)].task_axis = i;
  return axes;
}

std::shared_ptr<const Node> make_block_node(std::string name, BlockOp op, std::vector<Array> inputs,
                                            std::vector<Output> outputs,
                                            const std::source_location& where) {
  op.tasks = outputs.front().grid.counts();
  return std::make_shared<const Node>(std::move(name), std::move(op), std::move(inputs),
                                      std::move(outputs), where);
}

Array make_block_array(std::string name, std::shared_ptr<const BlockAttributes> attributes,
                       std::vector<Array> inputs, std::vector<std::vector<BlockAxis>> reads,
                       DType dtype, ChunkGrid grid, const std::source_location& where) {
  BlockOp op;
  op.attributes = std::move(attributes);
  op.reads = std::move(reads);
  std::vector<Output> outputs;
  Shape shape = grid.shape();
  outputs.push_back({dtype, std::move(grid), std::move(shape), std::nullopt});
  return Array(
      make_block_node(std::move(name), std::move(op), std::move(inputs), std::move(outputs), where),
      0);
}

}  // namespace tessera::array
