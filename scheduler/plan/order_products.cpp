#include <algorithm>
#include <cmath>

#include "scheduler/plan/order.hpp"

// The order of products: how many result blocks are under way at once, and where in a sweep the
// links of their chains come.

namespace tessera::scheduler {

namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

// Times that the blocks of a streamed product must fit in the room for products.
constexpr double kStreamed = 4;

std::int64_t parts(std::int64_t count, std::int64_t size) { return (count + size - 1) / size; }

}  // namespace

// The nearest product that each node is computed from, of several the first.
void TaskOrder::find_products() {
  product_of_.assign(plan_->nodes.size(), -1);
  if (room_.bytes == 0) return;
  for (std::size_t n = 0; n < plan_->nodes.size(); ++n) {
    const PlanNode& node = plan_->nodes[n];
    if (node.task_count == 0) continue;
    if (node.product.empty()) {
      for (const PlanInput& input : node.inputs) {
        const std::int32_t one = product_of_[at(plan_->slots[at(input.slot)].node)];
        if (product_of_[n] < 0) product_of_[n] = one;
      }
      continue;
    }
    Product product;
    product.grid = node.product;
    product.links = node.counts.back();
    for (const std::int64_t count : product.grid) product.blocks *= static_cast<double>(count);
    // The chains of one block wait for each other.
    const auto chains = std::count(node.chain_start.begin(), node.chain_start.end(), true);
    const Slot& slot = plan_->slots[at(node.outputs[at(node.chain_output)])];
    const double bytes = static_cast<double>(chains) *
                         static_cast<double>(std::max<std::size_t>(slot.size.max_bytes(), 1));
    product.at_once = std::floor(static_cast<double>(room_.bytes) / bytes);
    product.fits = product.blocks <= product.at_once * room_.ranks;
    for (std::size_t i = 0; i < std::min<std::size_t>(node.inputs.size(), 2); ++i) {
      product.weights[i] = static_cast<double>(
          std::max<std::size_t>(plan_->slots[at(node.inputs[i].slot)].size.max_bytes(), 1));
    }
    product_of_[n] = static_cast<std::int32_t>(products_.size());
    products_.push_back(std::move(product));
  }
}

// The one that reads least: each block of the left matrix is read for every column of tiles, and
// each of the right one for every row of them. One without rows: blocks are computed one by one.
TaskOrder::Tile TaskOrder::tile_of(const Product& product) {
  const std::size_t rank = product.grid.size();
  if (rank < 2 || product.links < 2) return {};
  const std::int64_t rows = product.grid[rank - 2];
  const std::int64_t columns = product.grid[rank - 1];
  if (rows * columns < 2) return {};
  if (product.fits) return {rows, columns};
  const auto most = static_cast<std::int64_t>(product.at_once);
  if (most < 2) return {};
  Tile best;
  double least = 0;
  for (std::int64_t height = std::min(rows, most);; --height) {
    const std::int64_t down = parts(rows, height);
    height = parts(rows, down);  // no less for as many
    const std::int64_t across = parts(columns, std::min(columns, most / height));
    const double read = product.weights[0] * static_cast<double>(rows * across) +
                        product.weights[1] * static_cast<double>(columns * down);
    if (best.rows == 0 || read < least) best = {height, parts(columns, across)}, least = read;
    if (height == 1) return best;
  }
}

void TaskOrder::add_domain(const std::vector<std::int64_t>& counts, const Product* product) {
  Domain domain;
  domain.lanes = counts;
  domain.extents = counts;
  domain.outer = counts.size();
  const Tile tile = product == nullptr ? Tile{} : tile_of(*product);
  std::int64_t total = std::max<std::int64_t>(tile.rows, 1);
  bool fits = tile.rows > 0;
  for (const std::int64_t e : counts)
    fits = fits && !__builtin_mul_overflow(total, std::max<std::int64_t>(e, 1) * 2, &total);
  fits = fits && !__builtin_mul_overflow(total, product->links, &total) && total <= kMaxPositions;
  if (fits) {
    const std::size_t batch = counts.size() - 2;
    const std::int64_t rows = counts[batch];
    const std::int64_t columns = counts[batch + 1];
    domain.extents.resize(batch);
    const auto add = [&](std::int64_t extent, std::int64_t factor) {
      domain.numbers.emplace_back(domain.extents.size(), static_cast<Position>(factor));
      domain.extents.push_back(extent);
    };
    std::int64_t factor = rows * columns;
    for (std::size_t d = batch; d-- > 0; factor *= counts[d])
      domain.numbers.emplace_back(d, static_cast<Position>(factor));
    domain.tile = tile;
    add(parts(rows, tile.rows), tile.rows * columns);
    add(parts(columns, tile.columns), tile.columns);
    domain.outer = domain.extents.size();
    domain.links.push_back(domain.extents.size());
    domain.extents.push_back(product->links);
    add(tile.rows, columns);
    add(tile.columns, 1);
  }
  domains_.push_back(std::move(domain));
}

// Where the blocks of a result stand whose sweep goes by tiles.
void TaskOrder::place_in_tiles(const Domain& domain, Alignment& root) {
  const std::size_t batch = domain.lanes.size() - 2;
  for (std::size_t d = 0; d < batch; ++d) root.digits[d] = {static_cast<int>(d), 0, nullptr};
  const auto place = [&](std::size_t outer, std::size_t axis, std::int64_t size) {
    std::vector<std::int32_t> tiles, within;
    for (std::int64_t c = 0; c < domain.lanes[axis]; ++c) {
      tiles.push_back(static_cast<std::int32_t>(c / size));
      within.push_back(static_cast<std::int32_t>(c % size));
    }
    const auto digit = [&](std::vector<std::int32_t>&& table) -> Digit {
      return {static_cast<int>(axis), 0,
              std::make_shared<const std::vector<std::int32_t>>(std::move(table))};
    };
    if (size < domain.lanes[axis]) {
      root.digits[outer] = digit(std::move(tiles));
      root.digits[outer + 3] = digit(std::move(within));
    } else {
      root.digits[outer] = {-1, 0, nullptr};
      root.digits[outer + 3] = {static_cast<int>(axis), 0, nullptr};
    }
  };
  place(batch, batch, domain.tile.rows);
  place(batch + 1, batch + 1, domain.tile.columns);
}

// Before the blocks of a product are streamed to one task after another, where those of one task
// take little of the memory: all their links come together. They would be there one by one
// otherwise, and what else is in the memory is not to leave for them.
void TaskOrder::reserve_links(NodeIndex node, const PlanInput& input, std::vector<Alignment>& own) {
  const Product* product = product_of(plan_->slots[at(input.slot)].node);
  if (product == nullptr || product->links < 2) return;
  const auto tasks = static_cast<double>(plan_->nodes[at(node)].task_count);
  const double blocks = product->blocks / tasks;
  if (blocks < 2 || blocks * kStreamed > product->at_once * (tasks == 1 ? room_.ranks : 1)) return;
  for (Alignment& a : own) {
    Domain& domain = domains_[at(a.domain)];
    const int digit = inner_digit(a.domain, product->links, own, true);
    if (digit < 0) continue;
    if (std::find(domain.links.begin(), domain.links.end(), at(digit)) == domain.links.end())
      domain.links.push_back(at(digit));
    pad(a);
  }
}

}  // namespace tessera::scheduler
