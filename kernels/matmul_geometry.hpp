#pragma once

#include <cstdint>
#include <functional>

#include "kernels/block_view.hpp"
#include "kernels/specs.hpp"
#include "kernels/task_geometry.hpp"

namespace tessera::kernels {

/// Which matrices the tasks of a product multiply, by arithmetic on its grids.
class MatmulGeometry {
 public:
  explicit MatmulGeometry(const MatmulSpec& spec);

  /// c (m, n) = or += a (m, k) b (k, n), one for each index of the batch axes.
  struct Product {
    std::int64_t m = 0, n = 0, k = 0;
    MatrixView a, b;
    std::byte* c = nullptr;
    bool on_diagonal = false;  ///< of a product with its own transpose: b is a's transpose
  };
  void for_each_product(const TaskArgs& args, const std::function<void(const Product&)>& f) const;
  /// The products of blocks of every size; of their operands only extents and strides count.
  void for_each_size(const std::function<void(const Product&)>& f) const;

 private:
  MatrixView left(const BoundRead& bound) const noexcept;
  MatrixView right(const BoundRead& bound) const noexcept;

  MatmulSpec spec_;
  ChunkGrid space_;  // (batch..., m, n, k)
};

}  // namespace tessera::kernels
