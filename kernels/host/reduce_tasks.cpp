#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/host/copy_host.hpp"
#include "kernels/host/loops.hpp"
#include "kernels/host/program_host.hpp"
#include "kernels/host/scan_host.hpp"
#include "kernels/host/tasks.hpp"
#include "kernels/task_geometry.hpp"

namespace tessera::kernels::host {

namespace {

class MergeTask : public TaskKernel {
 public:
  explicit MergeTask(const MergeSpec& spec) : spec_(spec) {}
  void run(const TaskArgs& args) const override {
    const std::int64_t count = task_box(spec_.grid, args.coords).elements();
    std::vector<const std::byte*> partials;
    for (const Piece& piece : args.input(0)) partials.push_back(piece.data);
    if (!spec_.finish) {
      merge_accumulators(spec_.op, spec_.element, count, partials, args.outputs[0]);
      return;
    }
    const std::byte* merged = partials[0];
    if (partials.size() > 1) {
      merge_accumulators(spec_.op, spec_.element, count, partials, args.scratch);
      merged = args.scratch;
    }
    finish_accumulator(spec_.op, spec_.element, spec_.result, spec_.ddof, count, merged, args.outputs[0]);
  }

 private:
  MergeSpec spec_;
};

// Neighbours are added first, then pairs of sums, and so on.
class AddBlocksTask : public TaskKernel {
 public:
  explicit AddBlocksTask(const AddBlocksSpec& spec) : spec_(spec), add_(find_loop(core::ScalarOp::kAdd, spec.dtype)) {}
  void run(const TaskArgs& args) const override {
    const std::int64_t count = task_box(spec_.grid, args.coords).elements();
    const std::size_t item = itemsize(spec_.dtype);
    const std::span<const Piece> pieces = args.input(0);
    // The tree is walked tile by tile, so that partial sums stay in the cache.
    alignas(64) std::byte sums[kLevels][kTile * 16 + kLanePadBytes];
    for (std::int64_t begin = 0; begin < count; begin += kTile) {
      const std::int64_t n = std::min<std::int64_t>(kTile, count - begin);
      const std::size_t offset = static_cast<std::size_t>(begin) * item;
      const std::size_t bytes = static_cast<std::size_t>(n) * item;
      std::size_t level_of[kLevels];
      std::size_t depth = 0;
      for (const Piece& piece : pieces) {
        std::memcpy(sums[depth], piece.data + offset, bytes);
        level_of[depth++] = 0;
        while (depth > 1 && level_of[depth - 1] == level_of[depth - 2]) fold(sums, level_of, depth, n);
      }
      while (depth > 1) fold(sums, level_of, depth, n);
      std::memcpy(args.outputs[0] + offset, sums[0], bytes);
    }
  }

 private:
  static constexpr std::int64_t kTile = 256;
  static constexpr std::size_t kLevels = 8;
  void fold(std::byte (*sums)[kTile * 16 + kLanePadBytes], std::size_t* level_of, std::size_t& depth, std::int64_t n) const {
    const void* operands[] = {sums[depth - 2], sums[depth - 1]};
    add_(operands, sums[depth - 2], n);
    --depth;
    ++level_of[depth - 1];
  }
  AddBlocksSpec spec_;
  Loop add_;
};

class ScanTask : public TaskKernel {
 public:
  explicit ScanTask(const ScanSpec& spec) : spec_(spec) {}
  void run(const TaskArgs& args) const override {
    const TaskBox box = task_box(spec_.grid, args.coords);
    if (spec_.mode == ScanSpec::Mode::kPrefix) return prefix(args, box);
    const auto rank = static_cast<std::size_t>(box.rank);
    const BoundRead bound = box.elements() > 0 ? bind(spec_.from, box, args.input(0)[0]) : BoundRead{};
    const ConstBlockView in{bound.data, spec_.from.dtype, box.shape(), {bound.strides.data(), rank}};
    if (spec_.mode == ScanSpec::Mode::kTotals) {
      scan_totals(spec_.op, in, spec_.axis, spec_.dtype, args.outputs[0]);
      return;
    }
    Extents strides{};
    dense_strides(box.shape(), strides.data());
    ScanOptions options;
    if (spec_.mode == ScanSpec::Mode::kApply) {
      options.carry_in = args.input(1)[0].data;
    } else {
      options.carry_in = args.chained ? args.outputs[1] : nullptr;
      options.carry_out = args.outputs[1];
    }
    scan(spec_.op, in, spec_.axis, {args.outputs[0], spec_.dtype, box.shape(), {strides.data(), rank}}, options);
  }

 private:
  // Output 0: the running total before this block, which output 1 brings along; output 1: after it.
  void prefix(const TaskArgs& args, const TaskBox& box) const {
    std::int64_t lanes = 1;
    for (int d = 0; d < box.rank; ++d) lanes *= d == spec_.axis ? 1 : box.extent[static_cast<std::size_t>(d)];
    const std::size_t bytes = static_cast<std::size_t>(lanes) * itemsize(spec_.carry);
    const std::byte* total = args.input(0)[0].data;
    // A total that is NaN says so for good: only elements may be missing.
    const bool product = spec_.op == core::ReduceOp::kProd || spec_.op == core::ReduceOp::kNanProd;
    const core::ReduceOp join = product ? core::ReduceOp::kProd : core::ReduceOp::kSum;
    if (args.chained) {
      std::memcpy(args.outputs[0], args.outputs[1], bytes);
    } else {
      const std::int64_t shape[] = {lanes};
      const std::int64_t stride[] = {1};
      fill_region({args.outputs[0], spec_.carry, shape, stride}, product ? Scalar(1) : Scalar(0));
    }
    const std::int64_t shape[] = {1, lanes};
    const std::int64_t strides[] = {lanes, 1};
    // One row more of the same scan: carry in, carry out.
    scan(join, {total, spec_.carry, shape, strides}, 0, {args.outputs[1], spec_.carry, shape, strides},
         {.carry_in = args.outputs[0]});
  }
  ScanSpec spec_;
};

}  // namespace

std::unique_ptr<TaskKernel> make_merge(const MergeSpec& spec) { return std::make_unique<MergeTask>(spec); }
std::unique_ptr<TaskKernel> make_add_blocks(const AddBlocksSpec& spec) { return std::make_unique<AddBlocksTask>(spec); }
std::unique_ptr<TaskKernel> make_scan(const ScanSpec& spec) { return std::make_unique<ScanTask>(spec); }

}  // namespace tessera::kernels::host
