#include "kernels/matmul_geometry.hpp"

#include <algorithm>
#include <set>
#include <vector>

namespace tessera::kernels {

namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

std::set<std::int64_t> sizes(const AxisChunks& axis) {
  if (axis.is_regular()) return {axis.size(0), axis.size(axis.count() - 1)};
  const std::vector<std::int64_t> all = axis.extents();
  return {all.begin(), all.end()};
}

}  // namespace

MatmulGeometry::MatmulGeometry(const MatmulSpec& spec) : spec_(spec) {
  std::vector<AxisChunks> axes = spec.grid.axes();
  axes.push_back(spec.k_chunks);
  space_ = ChunkGrid(std::move(axes));
}

MatrixView MatmulGeometry::left(const BoundRead& bound) const noexcept {
  const int rank = spec_.grid.rank();
  return {bound.data, bound.strides[at(rank - 2)], bound.strides[at(rank)]};
}

MatrixView MatmulGeometry::right(const BoundRead& bound) const noexcept {
  const int rank = spec_.grid.rank();
  return {bound.data, bound.strides[at(rank)], bound.strides[at(rank - 1)]};
}

void MatmulGeometry::for_each_product(const TaskArgs& args,
                                      const std::function<void(const Product&)>& f) const {
  std::int64_t coords[kMaxRank + 1];
  const int rank = spec_.grid.rank();
  if (spec_.pairs) {
    // Task (pair, k) is block (i, j, k) of the space.
    std::int64_t j = 0;
    while ((j + 1) * (j + 2) / 2 <= args.coords[0]) ++j;
    coords[0] = args.coords[0] - j * (j + 1) / 2;
    coords[1] = j;
    coords[2] = args.coords[1];
  } else {
    std::copy(args.coords.begin(), args.coords.end(), coords);
  }
  const TaskBox box = task_box(space_, {coords, at(rank + 1)});
  Product product{box.extent[at(rank - 2)], box.extent[at(rank - 1)], box.extent[at(rank)], {}, {}, nullptr,
                  spec_.pairs && coords[0] == coords[1]};
  const bool any = product.m > 0 && product.n > 0 && product.k > 0;
  const BoundRead a = any ? bind(spec_.a, box, args.input(0)[0]) : BoundRead{};
  const BoundRead b = any ? bind(spec_.b, box, args.input(1)[0]) : BoundRead{};
  const auto item = static_cast<std::int64_t>(itemsize(spec_.dtype));
  std::int64_t batches = 1;
  for (int d = 0; d < rank - 2; ++d) batches *= box.extent[at(d)];
  for (std::int64_t batch = 0; batch < batches; ++batch) {
    product.a = left(a);
    product.b = right(b);
    std::int64_t rest = batch;
    for (int d = rank - 2; d-- > 0;) {
      const std::int64_t i = rest % box.extent[at(d)];
      rest /= box.extent[at(d)];
      product.a.data += i * a.strides[at(d)] * item;
      product.b.data += i * b.strides[at(d)] * item;
    }
    product.c = args.outputs[0] + batch * product.m * product.n * item;
    f(product);
  }
}

void MatmulGeometry::for_each_size(const std::function<void(const Product&)>& f) const {
  const int rank = spec_.grid.rank();
  TaskBox box;
  box.rank = rank + 1;
  Product product;
  product.a = left(bind(spec_.a, box, {0, nullptr}));
  product.b = right(bind(spec_.b, box, {0, nullptr}));
  for (const bool on_diagonal : {false, true}) {
    if (on_diagonal && !spec_.pairs) return;
    product.on_diagonal = on_diagonal;
    for (const std::int64_t m : sizes(spec_.grid.axis(rank - 2))) {
      for (const std::int64_t n : sizes(spec_.grid.axis(rank - 1))) {
        for (const std::int64_t k : sizes(spec_.k_chunks)) {
          product.m = m;
          product.n = n;
          product.k = k;
          f(product);
        }
      }
    }
  }
}

}  // namespace tessera::kernels
