#include <algorithm>

#include "array/node.hpp"
#include "scheduler/plan/lowering.hpp"

namespace tessera::scheduler {

namespace {

// Tasks that a product is cut into at least, by splitting k into groups, before fewer and longer chains win.
constexpr std::int64_t kProductTasks = 256;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

// matmul(x, transpose(x)) of a 2-d array: half of the blocks are the transposes of the others.
bool is_own_transpose(const Array& a, const Array& b) {
  const auto* view = std::get_if<array::View>(&b.node()->attributes);
  if (view == nullptr || a.shape().size() != 2 || is_complex(a.dtype())) return false;
  const array::AffineRead swapped{{1, 0, 1}, {0, 0, 1}};
  return view->read == swapped && b.node()->inputs[0].node() == a.node() && b.node()->inputs[0].output() == a.output();
}

AxisMap list_map(const std::vector<std::int32_t>& to, std::int64_t to_count) {
  std::vector<std::int32_t> hi;
  for (std::int32_t t : to) hi.push_back(t + 1);
  return AxisMap::ranges(to, std::move(hi), to_count);
}

}  // namespace

void Lowering::lower_matmul(const array::Node& node) {
  const array::Output& output = node.outputs[0];
  const Array& a = node.inputs[0];
  const Array& b = node.inputs[1];
  const auto rank = static_cast<int>(output.shape.size());
  const AxisChunks k_chunks = array::refine(a.chunks().axis(rank - 1), b.chunks().axis(rank - 2));
  const std::int64_t k_count = k_chunks.count();
  const bool pairs = is_own_transpose(a, b);

  auto spec = std::make_shared<kernels::MatmulSpec>();
  spec->grid = output.grid;
  spec->k_chunks = k_chunks;
  spec->dtype = output.dtype;
  spec->pairs = pairs;
  PlanNode task = new_node(node, node.name, output.grid);
  const StoredValue stored_a = stored(a);
  const StoredValue stored_b = pairs ? stored_a : stored(b);

  // Element coordinates of the tasks: (batch..., m, n, k).
  std::vector<AxisChunks> space = output.grid.axes();
  space.push_back(k_chunks);
  const ChunkGrid task_space(space);
  array::AffineRead read_a, read_b;
  for (int d = 0; d < rank; ++d) {
    const bool batch = d < rank - 2;
    const auto axis_of = [&](const Array& x, int axis) { return batch && x.shape()[at(d)] == 1 && output.shape[at(d)] != 1 ? -1 : axis; };
    read_a.push_back({axis_of(a, d == rank - 1 ? rank : d), 0, 1});
    read_b.push_back({axis_of(b, d == rank - 2 ? rank : d), 0, 1});
  }
  if (pairs) read_b = {{1, 0, 1}, {rank, 0, 1}};
  spec->a = {read_a, stored_a.grid, stored_a.dtype};
  spec->b = {read_b, stored_b.grid, stored_b.dtype};
  PlanInput input_a = make_input(stored_a, read_a, task_space);
  PlanInput input_b = make_input(stored_b, read_b, task_space);

  std::vector<AxisChunks> slot_axes = space;
  slot_axes.back() = AxisChunks::regular(k_count, 1);
  std::int64_t out_blocks = output.grid.block_count();
  if (pairs) {
    // Task grid (pair, k): row i for a, row j of the same array for b.
    const std::int64_t n = output.grid.axis(0).count();
    out_blocks = n * (n + 1) / 2;
    std::vector<std::int32_t> row, column;
    const std::int64_t edge = output.grid.axis(0).max_size();
    for (std::int64_t t = 0; t < out_blocks; ++t) {
      const auto [i, j] = triangle_pair(t);
      row.push_back(static_cast<std::int32_t>(i));
      column.push_back(static_cast<std::int32_t>(j));
    }
    for (PlanInput* input : {&input_a, &input_b}) {
      for (AxisLink& link : input->access.links) {
        if (link.task_axis == rank) {
          link.task_axis = 1;
        } else if (link.task_axis >= 0) {
          link = {0, list_map(input == &input_a ? row : column, n)};
        }
      }
    }
    // Every pair has room for the largest block.
    const std::int64_t room = edge * edge;
    slot_axes = {AxisChunks::regular(out_blocks * room, std::max<std::int64_t>(room, 1)), AxisChunks::regular(k_count, 1)};
  }
  const std::int64_t groups =
      out_blocks >= kProductTasks ? 1 : std::min(k_count, (kProductTasks + out_blocks - 1) / std::max<std::int64_t>(out_blocks, 1));
  const ChunkGrid slot_grid(slot_axes);
  task.counts = slot_grid.counts();
  task.chain_axis = static_cast<int>(task.counts.size()) - 1;
  task.chain_output = 0;
  task.product = output.grid.counts();
  std::vector<std::int32_t> ends;
  for (std::int64_t k = 0; k < k_count; ++k) {
    const bool start = k == 0 || k * groups / k_count != (k - 1) * groups / k_count;
    if (start && k > 0) ends.push_back(static_cast<std::int32_t>(k - 1));
    task.chain_start.push_back(start);
  }
  ends.push_back(static_cast<std::int32_t>(k_count - 1));
  task.inputs.push_back(std::move(input_a));
  task.inputs.push_back(std::move(input_b));
  task.spec = spec;
  const double edge_flops = 2.0 * static_cast<double>(output.grid.axis(rank - 2).max_size()) *
                            static_cast<double>(output.grid.axis(rank - 1).max_size()) * static_cast<double>(k_chunks.max_size());
  task.flops = is_complex(output.dtype) ? 4.0 * edge_flops : edge_flops;
  const SlotIndex chain = append_with_output(std::move(task), kernels::BlockSize(slot_grid, output.dtype));

  SlotIndex slot = chain;
  std::int64_t link = k_count - 1;
  if (ends.size() > 1 || (k_count > 1 && !pairs)) {
    // Groups of k combine in a tree, 16 at a time. One group alone is copied: kernels find the place of a block
    // by its number in the array's own grid, which the last of several links of a chain does not have.
    std::vector<AxisChunks> axes = slot_axes;
    std::vector<std::int32_t> sources = ends;
    std::int64_t from_count = k_count;
    do {
      const auto count = static_cast<std::int64_t>((sources.size() + 15) / 16);
      auto add = std::make_shared<kernels::AddBlocksSpec>();
      std::vector<std::int64_t> offsets{0};
      for (std::int64_t g = 0; g < count; ++g) {
        offsets.push_back(std::min<std::int64_t>(static_cast<std::int64_t>(sources.size()), (g + 1) * 16));
      }
      PlanInput input;
      input.slot = slot;
      input.streamed = true;
      axes.back() = AxisChunks::regular(count, 1);
      for (std::size_t d = 0; d + 1 < axes.size(); ++d) {
        input.access.links.push_back({static_cast<int>(d), AxisMap::identity(axes[d].count())});
      }
      input.access.links.push_back({static_cast<int>(axes.size()) - 1, AxisMap::lists(offsets, sources, from_count)});
      const ChunkGrid grid(axes);
      add->grid = grid;
      add->dtype = output.dtype;
      PlanNode sum = new_node(node, node.name + " add", grid);
      sum.inputs.push_back(std::move(input));
      sum.spec = std::move(add);
      slot = append_with_output(std::move(sum), kernels::BlockSize(grid, output.dtype));
      sources.clear();
      for (std::int64_t g = 0; g < count; ++g) sources.push_back(static_cast<std::int32_t>(g));
      from_count = count;
    } while (sources.size() > 1);
    link = 0;
  }
  if (!pairs) {
    stored_[{&node, 0}] = {slot, output.grid, output.dtype, link};
    return;
  }
  // Lay the pairs out as the whole matrix.
  auto expand = std::make_shared<kernels::ProgramSpec>();
  expand->grid = output.grid;
  expand->program.rank = 2;
  expand->program.load_count = 1;
  kernels::Instr load;
  load.kind = kernels::InstrKind::kLoad;
  load.dtype = output.dtype;
  load.slot = 0;
  expand->program.instrs = {load};
  expand->program.stores = {0};
  kernels::ProgramSpec::Load from;
  from.from = {array::identity_read(2), output.grid, output.dtype};
  from.input = 0;
  from.mirror = true;
  expand->loads.push_back(std::move(from));
  PlanNode copy = new_node(node, node.name + " mirror", output.grid);
  PlanInput input;
  input.slot = slot;
  input.access.mirror = true;
  input.access.links.resize(1);
  const auto fixed = static_cast<std::int32_t>(link);
  const std::int64_t links = out_.plan.slots[at(slot)].size.grid().axis(1).count();
  input.access.links.push_back({-1, AxisMap::ranges({fixed}, {fixed + 1}, links)});
  copy.inputs.push_back(std::move(input));
  copy.spec = std::move(expand);
  stored_[{&node, 0}] = {append_with_output(std::move(copy), kernels::BlockSize(output.grid, output.dtype)), output.grid,
                         output.dtype, -1};
}

}  // namespace tessera::scheduler
