#include "tessera/decomposition.hpp"

#include <algorithm>
#include <utility>

#include "array/block_node.hpp"
#include "array/number.hpp"
#include "array/refuse.hpp"
#include "tessera/linalg.hpp"
#include "tessera/manipulation.hpp"

namespace tessera {

namespace {

using array::Node;
using Where = std::source_location;

// R factors that one task of the tree stacks. Fixed: the tree's shape decides bits.
constexpr std::int64_t kStacked = 8;

Array checked_matrix(const Array& x, const char* name, const Where& where) {
  if (x.ndim() != 2) array::refuse(name, "a matrix has two axes; got shape ", to_string(x.shape()));
  array::check_arithmetic(name, x.dtype());
  const bool inexact = is_floating(x.dtype()) || is_complex(x.dtype());
  return inexact ? x : array::cast(x, DType::kFloat64, where);
}

// Neighbouring chunks joined until each has at least `least` elements, and `group` of them are together.
AxisChunks join_chunks(const AxisChunks& axis, std::int64_t least, std::int64_t group) {
  std::vector<std::int64_t> extents;
  std::int64_t open = 0;
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < axis.count(); ++i) {
    open += axis.size(i);
    if (++count < group || open < least) continue;
    extents.push_back(open);
    open = count = 0;
  }
  if (open > 0 && open < least && !extents.empty()) {
    extents.back() += open;
  } else if (open > 0 || extents.empty()) {
    extents.push_back(open);
  }
  return AxisChunks::of(std::move(extents));
}

// Operations of factorisations of m x n, m >= n (Golub and Van Loan, Matrix Computations, 5.2 and 8.6): R by
// Householder reflections, and as many more for Q; singular values by bidiagonalisation, and with vectors after a QR.
double qr_flops(double m, double n, bool with_q) { return (with_q ? 4.0 : 2.0) * n * n * (m - n / 3.0); }
double svd_flops(double m, double n, bool with_vectors) {
  return with_vectors ? 6.0 * m * n * n + 20.0 * n * n * n : 4.0 * n * n * (m - n / 3.0);
}
// A complex multiplication and addition are eight operations instead of two.
double flops_of(DType dtype, double real) { return is_complex(dtype) ? 4.0 * real : real; }

std::shared_ptr<const Node> block_qr(const Array& x, bool with_q, const Where& where) {
  const AxisChunks& rows = x.chunks().axis(0);
  const std::int64_t n = x.shape()[1];
  const std::int64_t k = rows.count() > 1 ? n : std::min(x.shape()[0], n);
  auto attributes = std::make_shared<array::QrAttributes>();
  attributes->with_q = with_q;
  attributes->wide = rows.count() == 1;
  const AxisChunks columns = AxisChunks::regular(n, std::max<std::int64_t>(n, 1));
  const AxisChunks factor = AxisChunks::regular(k, std::max<std::int64_t>(k, 1));
  const ChunkGrid r_grid({AxisChunks::regular(k * rows.count(), std::max<std::int64_t>(k, 1)), columns});
  std::vector<array::Output> outputs;
  const ChunkGrid q_grid({rows, factor});
  if (with_q) outputs.push_back({x.dtype(), q_grid, q_grid.shape(), std::nullopt});
  outputs.push_back({x.dtype(), r_grid, r_grid.shape(), std::nullopt});
  array::BlockOp op;
  op.wide = attributes->wide;
  op.attributes = std::move(attributes);
  op.tasks = r_grid.counts();
  op.reads = {array::same_blocks(2)};
  const auto more = static_cast<double>(std::max(rows.max_size(), n));
  const auto less = static_cast<double>(std::min(rows.max_size(), n));
  op.flops = flops_of(x.dtype(), qr_flops(more, less, with_q));
  return array::make_block_node(with_q ? "qr" : "qr_r", std::move(op), {x}, std::move(outputs), where);
}

// Whether the rows are cut and the columns are not, and there are enough rows for a tree.
bool is_tall(const Array& x) {
  return x.chunks().axis(1).count() == 1 && x.chunks().axis(0).count() > 1 && x.shape()[0] >= x.shape()[1] &&
         join_chunks(x.chunks().axis(0), x.shape()[1], 1).count() > 1;
}

Array one_block(const Array& x, const Where& where) { return rechunk(x, Chunks{-1, -1}, where); }

QR tall_qr(const Array& x, bool with_q, const Where& where) {
  const std::int64_t n = x.shape()[1];
  const AxisChunks columns = AxisChunks::regular(n, std::max<std::int64_t>(n, 1));
  const Array blocks = rechunk(x, Chunks(ChunkGrid({join_chunks(x.chunks().axis(0), n, 1), columns})), where);
  const auto node = block_qr(blocks, with_q, where);
  const Array r_stack(node, with_q ? 1 : 0);
  if (r_stack.chunks().axis(0).count() == 1) return {Array(node, 0), r_stack};
  const AxisChunks groups = join_chunks(r_stack.chunks().axis(0), n, kStacked);
  const QR top = tall_qr(rechunk(r_stack, Chunks(ChunkGrid({groups, columns})), where), with_q, where);
  if (!with_q) return {top.r, top.r};
  // Block i of q is its first factor times its rows of the tree's.
  const Array q(node, 0);
  const Array rows = rechunk(top.q, Chunks(r_stack.chunks()), where);
  array::BlockOp op;
  op.attributes = std::make_shared<array::BlockProductAttributes>();
  op.tasks = q.chunks().counts();
  op.reads = {array::same_blocks(2), array::same_blocks(2)};
  const auto edge = static_cast<double>(n);
  op.flops = flops_of(x.dtype(), 2.0 * static_cast<double>(q.chunks().axis(0).max_size()) * edge * edge);
  const auto product = array::make_block_node("qr", std::move(op), {q, rows}, {{x.dtype(), q.chunks(), q.shape(), std::nullopt}}, where);
  return {Array(product, 0), top.r};
}

QR any_qr(const Array& x, bool with_q, const Where& where) {
  if (is_tall(x)) return tall_qr(x, with_q, where);
  const auto node = block_qr(one_block(x, where), with_q, where);
  return {Array(node, 0), Array(node, with_q ? 1 : 0)};
}

std::shared_ptr<const Node> block_svd(const Array& x, bool with_vectors, const Where& where) {
  const std::int64_t m = x.shape()[0];
  const std::int64_t n = x.shape()[1];
  const std::int64_t k = std::min(m, n);
  auto attributes = std::make_shared<array::SvdAttributes>();
  attributes->with_vectors = with_vectors;
  std::vector<array::Output> outputs;
  const auto add = [&](DType dtype, Shape shape) {
    ChunkGrid grid = ChunkGrid::whole(shape);
    outputs.push_back({dtype, std::move(grid), std::move(shape), std::nullopt});
  };
  // The values form a row, so that all outputs share one task grid.
  add(real_dtype(x.dtype()), {1, k});
  if (with_vectors) {
    add(x.dtype(), {m, k});
    add(x.dtype(), {k, n});
  }
  array::BlockOp op;
  op.attributes = std::move(attributes);
  op.tasks = {1, 1};
  op.reads = {array::same_blocks(2)};
  op.wide = true;
  op.flops = flops_of(x.dtype(), svd_flops(static_cast<double>(std::max(m, n)), static_cast<double>(k), with_vectors));
  return array::make_block_node(with_vectors ? "svd" : "svdvals", std::move(op), {x}, std::move(outputs), where);
}

Array values(const std::shared_ptr<const Node>& node, const Where& where) {
  const Array row(node, 0);
  return array::make_view("svd", row, {{-1, 0, 1}, {0, 0, 1}}, {row.shape()[1]}, where);
}

bool is_wide_rows(const Array& x) { return x.chunks().axis(0).count() == 1 && x.chunks().axis(1).count() > 1; }

}  // namespace

QR qr(const Array& x, std::source_location where) { return any_qr(checked_matrix(x, "qr", where), true, where); }

Array qr_r(const Array& x, std::source_location where) {
  return any_qr(checked_matrix(x, "qr_r", where), false, where).r;
}

SVD svd(const Array& x, std::source_location where) {
  const Array a = checked_matrix(x, "svd", where);
  if (is_wide_rows(a) && is_tall(transpose(a, {}, where))) {
    const SVD t = svd(transpose(a, {}, where), where);
    return {transpose(t.vt, {}, where), t.s, transpose(t.u, {}, where)};
  }
  if (is_tall(a)) {
    const QR factors = tall_qr(a, true, where);
    const auto inner = block_svd(factors.r, true, where);
    return {matmul(factors.q, Array(inner, 1), where), values(inner, where), Array(inner, 2)};
  }
  const auto node = block_svd(one_block(a, where), true, where);
  return {Array(node, 1), values(node, where), Array(node, 2)};
}

Array svdvals(const Array& x, std::source_location where) {
  Array a = checked_matrix(x, "svdvals", where);
  if (is_wide_rows(a)) a = transpose(a, {}, where);
  const Array core = is_tall(a) ? tall_qr(a, false, where).r : one_block(a, where);
  return values(block_svd(core, false, where), where);
}

}  // namespace tessera
