#include "tessera/delayed.hpp"

#include "array/block_node.hpp"
#include "tessera/manipulation.hpp"

namespace tessera::detail {

Array whole_block(const Array& array, std::source_location where) {
  return rechunk(array, Chunks(ChunkGrid::whole(array.shape())), where);
}

Array delayed_node(std::function<void(std::span<const InputBlock>)> run, std::vector<Array> inputs,
                   std::source_location where) {
  auto attributes = std::make_shared<array::MapBlocksAttributes>();
  attributes->name = "delayed";
  attributes->function = [run = std::move(run)](std::span<const InputBlock> blocks, const OutputBlock& out) {
    run(blocks);
    *out.data = std::byte{1};
  };
  array::BlockOp op;
  op.attributes = std::move(attributes);
  op.pure = false;
  for (const Array& input : inputs) {
    // One block each: every axis of it is read as a whole.
    op.reads.emplace_back(static_cast<std::size_t>(input.ndim()), array::BlockAxis{array::BlockAxis::Kind::kAll, -1, {}});
  }
  array::Output token{DType::kBool, ChunkGrid(), {}, std::nullopt};
  return Array(array::make_block_node("delayed", std::move(op), std::move(inputs), {std::move(token)}, where), 0);
}

}  // namespace tessera::detail
