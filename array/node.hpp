#pragma once

#include <cstdint>
#include <memory>
#include <source_location>
#include <string>
#include <vector>

#include "array/attributes.hpp"
#include "tessera/array.hpp"

// The lazy expression graph. A node is immutable: its shape, dtype and chunk grid are inferred once, by the
// function that builds it. The graph knows nothing of devices, blocks in memory or tasks.

namespace tessera::array {

/// Bytes that a block of a new grid aims at where nothing else says how to cut.
inline constexpr std::size_t kBlockBytes = std::size_t{128} << 20;

struct Output {
  DType dtype;
  ChunkGrid grid;
  Shape shape;  ///< of the grid, kept for quick answers
  /// Set for per-block accumulators between two BlockOps: elements are accumulators.
  std::optional<core::ReduceOp> accumulator;
};

struct Node {
  Node(std::string name, Attributes attributes, std::vector<Array> inputs, std::vector<Output> outputs,
       const std::source_location& where);
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  std::string name;  ///< the operation's public name, as in error texts
  Attributes attributes;
  std::vector<Array> inputs;
  std::vector<Output> outputs;
  const char* file;
  std::uint32_t line;
};

/// "file.cpp:12"; empty when unknown.
std::string origin(const Node& node);

/// A node with one output.
Array make_array(std::string name, Attributes attributes, std::vector<Array> inputs, DType dtype, ChunkGrid grid,
                 const std::source_location& where);

/// 0 <= axis < rank, counting negative ones from the end. \throws InvalidArgument naming `where`.
int normalize_axis(int axis, int rank, std::string_view where);
/// One flag per axis; all of them when none are given. \throws InvalidArgument for repeats and axes out of range.
std::vector<bool> normalize_axes(const Axes& axes, int rank, std::string_view where);

/// The chunk grid of a view: every axis of `base` cut where its blocks end, seen through `read`. Axes of
/// `shape` that no axis of the base follows get one chunk, cut further only to keep blocks near 128 MiB.
ChunkGrid view_grid(const ChunkGrid& base, const AffineRead& read, const Shape& shape, DType dtype);
/// A view of `base`; views of views are folded into one.
Array make_view(std::string name, const Array& base, AffineRead read, Shape shape, const std::source_location& where);
/// The coarsest cut that is at least as fine as both.
AxisChunks refine(const AxisChunks& a, const AxisChunks& b);
/// The coarsest grid of an array of this shape that the inputs broadcast to, in which no block crosses a block
/// boundary of an input that runs along the axis.
ChunkGrid common_grid(const std::vector<Array>& inputs, const Shape& shape);
/// Converts when the dtype differs.
Array cast(const Array& x, DType dtype, const std::source_location& where);

}  // namespace tessera::array
