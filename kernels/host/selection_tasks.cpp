#include "kernels/host/selection_tasks.hpp"

#include <string_view>

#include "array/block_attributes.hpp"
#include "kernels/host/block_task.hpp"
#include "kernels/host/distinct_host.hpp"
#include "kernels/host/selection_host.hpp"

namespace tessera::kernels::host {
namespace {

const bool* as_mask(const std::byte* data) { return reinterpret_cast<const bool*>(data); }
std::int64_t* as_counts(std::byte* data) { return reinterpret_cast<std::int64_t*>(data); }
const std::int64_t* as_counts(const std::byte* data) {
  return reinterpret_cast<const std::int64_t*>(data);
}

class SearchsortedTask : public BlockTask<array::SearchsortedAttributes> {
 public:
  using BlockTask::BlockTask;
  void run(const TaskArgs& args) const override {
    const std::int64_t count = output_block(0, args).box.elements();
    if (count == 0) return;
    const std::int64_t size = spec_.inputs[1].grid.block_elements(0);
    const std::byte* table = size == 0 ? nullptr : args.input(1)[0].data;
    const DType dtype = spec_.inputs[0].dtype;
    const std::byte* in = args.input(0)[0].data;
    if (attributes_.member) {
      find_members(dtype, table, size, in, count, reinterpret_cast<bool*>(args.outputs[0]));
    } else {
      search_sorted(dtype, table, size, in, count, attributes_.right, as_counts(args.outputs[0]));
    }
  }
};

class TakeAlongAxisTask : public BlockTask<array::TakeAlongAxisAttributes> {
 public:
  using BlockTask::BlockTask;
  void run(const TaskArgs& args) const override {
    const Dense out = output_block(0, args);
    if (out.box.elements() == 0) return;
    const DType dtype = spec_.inputs[0].dtype;
    const Dense in = input_block(0, args.input(0)[0]);
    take_along_axis(in.view(args.input(0)[0].data, dtype),
                    out.view(args.input(1)[0].data, DType::kInt64), attributes_.axis,
                    out.view(args.outputs[0], dtype));
  }
};

class CountTrueTask : public BlockTask<array::CountTrueAttributes> {
 public:
  using BlockTask::BlockTask;
  void run(const TaskArgs& args) const override {
    const std::int64_t size = input_block(0, args.input(0)[0]).box.elements();
    *as_counts(args.outputs[0]) = size == 0 ? 0 : count_true(as_mask(args.input(0)[0].data), size);
  }
};

class CompressTask : public BlockTask<array::CompressAttributes> {
 public:
  using BlockTask::BlockTask;
  void run(const TaskArgs& args) const override {
    const Dense out = output_block(0, args);
    if (out.box.elements() == 0) return;
    const DType dtype = spec_.inputs[0].dtype;
    const Dense in = input_block(0, args.input(0)[0]);
    compress(in.view(args.input(0)[0].data, dtype), as_mask(args.input(1)[0].data),
             attributes_.axis, out.view(args.outputs[0], dtype));
  }
};

class UniqueTask : public BlockTask<array::UniqueAttributes> {
 public:
  using BlockTask::BlockTask;
  void run(const TaskArgs& args) const override {
    DistinctArgs distinct_args;
    distinct_args.dtype = spec_.inputs[0].dtype;
    distinct_args.size = input_block(0, args.input(0)[0]).box.elements();
    distinct_args.in = args.input(0)[0].data;
    std::size_t input = 1;
    std::size_t output = 1;
    if (attributes_.merge && attributes_.counts) {
      distinct_args.in_counts = as_counts(args.input(input++)[0].data);
    }
    if (attributes_.first) distinct_args.in_first = as_counts(args.input(input)[0].data);
    distinct_args.room = output_block(0, args).box.elements();
    distinct_args.values = args.outputs[0];
    if (attributes_.counts) distinct_args.counts = as_counts(args.outputs[output++]);
    if (attributes_.first) distinct_args.first = as_counts(args.outputs[output++]);
    const std::size_t scratch = distinct_scratch_bytes(distinct_args.dtype, distinct_args.size,
                                                       with_positions(attributes_));
    *as_counts(args.outputs[output]) = distinct(distinct_args, {args.scratch, scratch});
  }
  static bool with_positions(const array::UniqueAttributes& attributes) {
    return attributes.counts || attributes.first;
  }
};

}  // namespace

std::unique_ptr<TaskKernel> make_selection_task(const BlockSpec& spec) {
  const std::string_view family = spec.kernel();
  if (family == "searchsorted") return std::make_unique<SearchsortedTask>(spec);
  if (family == "take_along_axis") return std::make_unique<TakeAlongAxisTask>(spec);
  if (family == "count_true") return std::make_unique<CountTrueTask>(spec);
  if (family == "compress") return std::make_unique<CompressTask>(spec);
  if (family == "unique") return std::make_unique<UniqueTask>(spec);
  return nullptr;
}

std::size_t selection_task_scratch(const BlockSpec& spec) {
  if (std::string_view(spec.kernel()) != "unique") return 0;
  const auto& attributes = static_cast<const array::UniqueAttributes&>(*spec.attributes);
  return distinct_scratch_bytes(spec.inputs[0].dtype, spec.inputs[0].grid.max_block_elements(),
                                UniqueTask::with_positions(attributes));
}

}  // namespace tessera::kernels::host
