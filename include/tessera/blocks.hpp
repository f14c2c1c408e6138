#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tessera/array.hpp"

// A caller's own function run on the blocks of arrays: map_blocks() block by block, map_overlap()
// with the neighbours' elements around each piece. Functions run on the host, on several threads at
// once, and may throw: the error then names the operation and the block.

namespace tessera {

/// Memory of one block, or of a piece of one, and where it lies in its array. Borrowed: valid
/// during the call of the function that it is given to.
template <typename Byte>
struct BasicBlock {
  Byte* data = nullptr;  ///< element (0, 0, ...)
  DType dtype = DType::kFloat64;
  std::span<const std::int64_t> shape;
  std::span<const std::int64_t> strides;  ///< elements to step along each axis
  std::span<const std::int64_t> index;    ///< coordinates of the block in its array's grid
  std::span<const std::int64_t> start;    ///< position of element (0, 0, ...) in its array

  std::int64_t size() const noexcept {
    std::int64_t count = 1;
    for (const std::int64_t extent : shape) count *= extent;
    return count;
  }
  /// Whether the elements lie one after the other in C order.
  bool is_dense() const noexcept {
    std::int64_t step = 1;
    for (std::size_t i = shape.size(); i-- > 0;) {
      if (shape[i] != 1 && strides[i] != step) return size() == 0;
      step *= shape[i];
    }
    return true;
  }
  /// The first element as T*. \throws InvalidArgument when T is not the block's dtype.
  template <Element T>
  auto as() const {
    if (dtype != dtype_of<T>) {
      throw InvalidArgument("[block] the element type must be the block's dtype; got " +
                            std::string(name(dtype_of<T>)) + " for " + std::string(name(dtype)));
    }
    using Pointer = std::conditional_t<std::is_const_v<Byte>, const T*, T*>;
    return reinterpret_cast<Pointer>(data);
  }
  /// The elements of a dense block in C order. \throws InvalidArgument for another dtype or layout.
  template <Element T>
  auto span() const {
    if (!is_dense()) throw InvalidArgument("[block] the block must be dense; try as() and strides");
    return std::span(as<T>(), static_cast<std::size_t>(size()));
  }
};
using InputBlock = BasicBlock<const std::byte>;
using OutputBlock = BasicBlock<std::byte>;

/// Writes every element of the output block from one block of each input.
using BlockFunction = std::function<void(std::span<const InputBlock>, const OutputBlock&)>;

struct MapBlocksOptions {
  std::optional<DType> dtype = std::nullopt;  ///< default: that of the first input
  std::optional<Shape> shape = std::nullopt;  ///< default: the inputs' broadcast shape
  /// Of the result; as many blocks along every axis as the inputs have. Default: the inputs' own
  /// chunks.
  std::optional<Chunks> chunks = std::nullopt;
  /// Whether the function gives the same result for the same blocks every time. If not, blocks are
  /// computed once, and one that is lost is an error.
  bool pure = false;
  std::string name = "map_blocks";  ///< for plans, traces and errors
};
/// The array whose blocks `function` writes. Inputs are broadcast against each other and cut into
/// the common refinement of their grids; along an axis of extent 1 the function gets that one
/// element. Without inputs `options.shape` must be given. The function gets dense blocks. It may
/// not call the session that runs it: such a call throws Error. A thread that the function starts
/// and waits for cannot be recognised: if it calls that session, both wait for ever. \throws
/// InvalidArgument when shapes do not broadcast, or the numbers of blocks differ.
TESSERA_EXPORT Array map_blocks(BlockFunction function, const std::vector<Array>& inputs,
                                const MapBlocksOptions& options = {},
                                std::source_location where = std::source_location::current());

/// What lies beyond the ends of an axis for map_overlap().
enum class Boundary : std::uint8_t {
  kNone,      ///< nothing: pieces at the ends have less around them
  kReflect,   ///< mirrored with the edge element: 2 1 | 1 2 3
  kPeriodic,  ///< the other end: 2 3 | 1 2 3
  kNearest,   ///< the edge element
  kConstant,  ///< options.value
};
/// Writes the output piece from the input piece, which reaches up to `depth` elements further on
/// both sides of every axis: output element (0, 0, ...) lies at out.start - in.start in the input
/// piece.
using OverlapFunction = std::function<void(const InputBlock&, const OutputBlock&)>;

struct MapOverlapOptions {
  std::vector<std::int64_t> depth;                  ///< for each axis, or one number for all
  std::vector<Boundary> boundary{Boundary::kNone};  ///< for each axis, or one for all
  Scalar value = 0.0;                               ///< of Boundary::kConstant
  std::optional<DType> dtype = std::nullopt;        ///< default: x's
  bool pure = false;                                ///< as in MapBlocksOptions
  std::string name = "map_overlap";
};
/// An array of x's shape and chunks that a local function computes: what it writes at a point may
/// depend on nothing but the elements within `depth` of it. It is called on pieces of any shape,
/// which need not be blocks, and with strides that need not be dense. \throws InvalidArgument for a
/// negative depth, or lists that do not fit the number of axes.
TESSERA_EXPORT Array map_overlap(const Array& x, OverlapFunction function,
                                 const MapOverlapOptions& options,
                                 std::source_location where = std::source_location::current());

}  // namespace tessera
