#pragma once

#include <memory>
#include <vector>

#include "array/block_attributes.hpp"
#include "array/node.hpp"

namespace tessera::array {

/// How a task that writes block b reads block b of an input of the same block counts.
std::vector<BlockAxis> same_blocks(int rank);

/// A node that runs a block kernel, with the outputs' common block counts as its task grid.
std::shared_ptr<const Node> make_block_node(std::string name, BlockOp op, std::vector<Array> inputs,
                                            std::vector<Output> outputs,
                                            const std::source_location& where);

/// A pure one with one output.
Array make_block_array(std::string name, std::shared_ptr<const BlockAttributes> attributes,
                       std::vector<Array> inputs, std::vector<std::vector<BlockAxis>> reads,
                       DType dtype, ChunkGrid grid, const std::source_location& where);

}  // namespace tessera::array
