#include "kernels/cuda/program_axes.hpp"

#include <algorithm>
#include <cstdlib>

namespace tessera::kernels::cuda {

MapSpace::MapSpace(const ProgramFields& fields, const SourceArgs& args)
    : loads_(fields.loads.size()), indices_(fields.indices.size()), stores_(args.stores.size()) {
  add_axes(fields, args);
  sort_by_store();
  merge();
  if (axes_.empty()) axes_.push_back({1, std::vector<std::int64_t>(loads_ + indices_ + stores_)});
}

void MapSpace::add_axes(const ProgramFields& fields, const SourceArgs& args) {
  for (std::size_t d = 0; d < args.shape.size(); ++d) {
    empty_ = empty_ || args.shape[d] == 0;
    if (args.shape[d] == 1) continue;
    Axis axis{args.shape[d], {}};
    for (const int slot : fields.loads)
      axis.strides.push_back(args.loads[static_cast<std::size_t>(slot)].strides[d]);
    for (const int slot : fields.indices)
      axis.strides.push_back(args.indices[static_cast<std::size_t>(slot)].strides[d]);
    for (const SourceOperand& store : args.stores) axis.strides.push_back(store.strides[d]);
    axes_.push_back(std::move(axis));
  }
}

void MapSpace::sort_by_store() {
  if (stores_ == 0) return;
  std::stable_sort(axes_.begin(), axes_.end(), [&](const Axis& a, const Axis& b) {
    return std::abs(a.strides[store(0)]) > std::abs(b.strides[store(0)]);
  });
}

void MapSpace::merge() {
  std::vector<Axis> merged;
  for (Axis& axis : axes_) {
    bool even = !merged.empty();
    for (std::size_t k = 0; even && k < axis.strides.size(); ++k) {
      // Strides of indices may be any numbers, and go around.
      even = static_cast<std::uint64_t>(merged.back().strides[k]) ==
             static_cast<std::uint64_t>(axis.strides[k]) * static_cast<std::uint64_t>(axis.extent);
    }
    if (even) {
      merged.back() = {merged.back().extent * axis.extent, std::move(axis.strides)};
    } else {
      merged.push_back(std::move(axis));
    }
  }
  axes_ = std::move(merged);
}

void MapSpace::move_out(int axis) {
  std::rotate(axes_.begin(), axes_.begin() + axis, axes_.begin() + axis + 1);
}

}  // namespace tessera::kernels::cuda
