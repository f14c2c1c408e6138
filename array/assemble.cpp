#include "array/assemble.hpp"

namespace tessera::array {

Array make_assemble(std::string name, std::vector<Assemble::Part> parts, std::vector<Array> inputs,
                    std::optional<Scalar> fill, DType dtype, ChunkGrid grid,
                    const std::source_location& where) {
  Assemble assemble;
  assemble.fill = fill;
  std::vector<Array> sources;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    Assemble::Part& part = parts[i];
    bool empty = false;
    for (std::size_t k = 0; k < part.lo.size(); ++k) empty = empty || part.lo[k] >= part.hi[k];
    if (empty) continue;
    Array source = inputs[i];
    if (const auto* view = std::get_if<View>(&source.node()->attributes)) {
      AffineRead read = compose(view->read, part.read);
      // Which blocks a part reads must follow from each axis alone: a diagonal is copied first.
      if (!repeats_axis(read)) {
        part.read = std::move(read);
        source = source.node()->inputs[0];
      }
    }
    sources.push_back(std::move(source));
    assemble.parts.push_back(std::move(part));
  }
  return make_array(std::move(name), std::move(assemble), std::move(sources), dtype,
                    std::move(grid), where);
}

Array assemble_stretches(std::string name, const Array& x,
                         const std::vector<std::vector<Stretch>>& stretches,
                         std::optional<Scalar> fill, ChunkGrid grid,
                         const std::source_location& where) {
  const std::size_t rank = stretches.size();
  std::vector<Assemble::Part> parts;
  std::vector<std::size_t> choice(rank, 0);
  for (const std::vector<Stretch>& axis : stretches) {
    if (axis.empty()) {
      return make_assemble(std::move(name), {}, {}, fill, x.dtype(), std::move(grid), where);
    }
  }
  for (bool more = true; more;) {
    Assemble::Part part;
    for (std::size_t k = 0; k < rank; ++k) {
      const Stretch& stretch = stretches[k][choice[k]];
      part.lo.push_back(stretch.lo);
      part.hi.push_back(stretch.hi);
      part.read.push_back(stretch.read);
    }
    parts.push_back(std::move(part));
    more = false;
    for (std::size_t k = rank; k-- > 0 && !more;) {
      more = ++choice[k] < stretches[k].size();
      if (!more) choice[k] = 0;
    }
  }
  std::vector<Array> inputs(parts.size(), x);
  return make_assemble(std::move(name), std::move(parts), std::move(inputs), fill, x.dtype(),
                       std::move(grid), where);
}

Array rechunk_to(const Array& x, ChunkGrid grid, const std::source_location& where) {
  if (x.chunks() == grid) return x;
  // What follows from an index or lies in host memory is cut anew where it comes from.
  const Attributes& attributes = x.node()->attributes;
  if (std::holds_alternative<Constant>(attributes) || std::holds_alternative<Arange>(attributes) ||
      std::holds_alternative<Eye>(attributes) ||
      std::holds_alternative<ExistingMemory>(attributes)) {
    return make_array(x.node()->name, attributes, {}, x.dtype(), std::move(grid), where);
  }
  if (const auto* before = std::get_if<Assemble>(&attributes)) {
    if (x.node()->name == "rechunk" && before->parts.size() == 1) {
      return make_assemble("rechunk", before->parts, x.node()->inputs, std::nullopt, x.dtype(),
                           std::move(grid), where);
    }
  }
  const Shape& shape = x.shape();
  Assemble::Part part{identity_read(x.ndim()), Shape(shape.size(), 0), shape};
  return make_assemble("rechunk", {std::move(part)}, {x}, std::nullopt, x.dtype(), std::move(grid),
                       where);
}

}  // namespace tessera::array
