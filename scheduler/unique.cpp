#include <algorithm>
#include <optional>

#include "array/assemble.hpp"
#include "array/block_node.hpp"
#include "tessera/counted.hpp"
#include "tessera/creation.hpp"
#include "tessera/elementwise.hpp"
#include "tessera/error.hpp"
#include "tessera/manipulation.hpp"
#include "tessera/reduction.hpp"
#include "tessera/session.hpp"
#include "tessera/sorting.hpp"

// Distinct elements of an array in blocks: those of each block, ascending ("runs"), merged in
// groups as long as that makes fewer of them, and then, where they do not fit one block, range by
// range: the ranges' limits are drawn from samples of the runs, and what lies between two limits is
// merged.

namespace tessera {
namespace {

// Distinct elements of a block that are kept while they are counted.
constexpr std::int64_t kFirstRoom = std::int64_t{1} << 16;
// A range of the values aims at so many elements at least.
constexpr std::int64_t kSmallestLimit = std::int64_t{1} << 16;
// Samples that each run gives for each range.
constexpr std::int64_t kSamples = 32;

struct Wanted {
  bool counts = false;
  bool first = false;
  std::source_location where;
};

/// Distinct elements, ascending, with what is known of each. 1-d arrays of one length; the session
/// holds them or the blocks that they are views of.
struct Run {
  Array values;
  std::optional<Array> counts;
  std::optional<Array> first;
  std::int64_t size() const { return values.size(); }
};

Run slice(const Run& run, std::int64_t begin, std::int64_t end, const Wanted& wanted) {
  const auto cut = [&](const Array& x) {
    return x.at({Slice{.start = begin, .stop = end}}, wanted.where);
  };
  Run out{cut(run.values), {}, {}};
  if (run.counts) out.counts = cut(*run.counts);
  if (run.first) out.first = cut(*run.first);
  return out;
}

Run joined(const std::vector<Run>& runs, const Wanted& wanted) {
  std::vector<Array> values;
  std::vector<Array> counts;
  std::vector<Array> first;
  for (const Run& run : runs) {
    values.push_back(run.values);
    if (run.counts) counts.push_back(*run.counts);
    if (run.first) first.push_back(*run.first);
  }
  Run out{concat(values, 0, wanted.where), {}, {}};
  if (wanted.counts) out.counts = concat(counts, 0, wanted.where);
  if (wanted.first) out.first = concat(first, 0, wanted.where);
  return out;
}

/// Padded distinct elements of every block of some array: values, counts, first positions and,
/// last, how many there are.
std::vector<Array> distinct(const std::vector<Array>& inputs, const ChunkGrid& room, bool merge,
                            const Wanted& wanted) {
  auto attributes = std::make_shared<array::UniqueAttributes>();
  attributes->counts = wanted.counts;
  attributes->first = wanted.first;
  attributes->merge = merge;
  const int rank = inputs.front().ndim();
  std::vector<AxisChunks> ones;
  for (const AxisChunks& axis : room.axes()) ones.push_back(AxisChunks::regular(axis.count(), 1));
  std::vector<array::Output> outputs{{inputs.front().dtype(), room, room.shape(), std::nullopt}};
  const int more = (wanted.counts ? 1 : 0) + (wanted.first ? 1 : 0);
  for (int i = 0; i < more; ++i) {
    outputs.push_back({DType::kInt64, room, room.shape(), std::nullopt});
  }
  const ChunkGrid found(std::move(ones));
  outputs.push_back({DType::kInt64, found, found.shape(), std::nullopt});
  array::BlockOp op;
  op.attributes = std::move(attributes);
  op.reads.assign(inputs.size(), array::same_blocks(rank));
  const auto node =
      array::make_block_node("unique", std::move(op), inputs, std::move(outputs), wanted.where);
  std::vector<Array> out;
  for (int i = 0; i < more + 2; ++i) out.emplace_back(node, i);
  return out;
}

std::vector<std::int64_t> numbers(const Array& x) {
  const HostArray host = x.compute();
  const auto values = host.span<std::int64_t>();
  return {values.begin(), values.end()};
}

/// Merges every group into one run: one task for each, all of them in one computation.
std::vector<Run> merged(const std::vector<std::vector<Run>>& groups, const Wanted& wanted) {
  std::vector<Array> arrays;
  std::size_t width = 0;
  for (const std::vector<Run>& group : groups) {
    const Run all = joined(group, wanted);
    std::vector<Array> inputs;
    const ChunkGrid whole = ChunkGrid::whole(all.values.shape());
    for (const std::optional<Array>& x : {std::optional(all.values), all.counts, all.first}) {
      if (x) inputs.push_back(array::rechunk_to(*x, whole, wanted.where));
    }
    const std::vector<Array> parts = distinct(inputs, whole, true, wanted);
    width = parts.size();
    arrays.insert(arrays.end(), parts.begin(), parts.end());
  }
  const std::vector<Array> kept = persist(arrays);
  std::vector<Array> found;
  for (std::size_t i = width - 1; i < kept.size(); i += width) found.push_back(kept[i]);
  const std::vector<std::int64_t> sizes = numbers(concat(found, 0, wanted.where));
  std::vector<Run> out;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    std::size_t next = g * width;
    Run run{kept[next++], {}, {}};
    if (wanted.counts) run.counts = kept[next++];
    if (wanted.first) run.first = kept[next++];
    out.push_back(slice(run, 0, sizes[g], wanted));
  }
  return out;
}

std::int64_t total(const std::vector<Run>& runs) {
  std::int64_t out = 0;
  for (const Run& run : runs) out += run.size();
  return out;
}

// Neighbouring runs together as long as they hold no more than `limit` elements.
std::vector<std::vector<Run>> grouped(const std::vector<Run>& runs, std::int64_t limit) {
  std::vector<std::vector<Run>> out;
  std::int64_t held = 0;
  for (const Run& run : runs) {
    if (out.empty() || held + run.size() > limit) {
      out.emplace_back();
      held = 0;
    }
    out.back().push_back(run);
    held += run.size();
  }
  return out;
}

// Ascending limits of about `ranges` ranges of equally many elements, as a 1-d array in one chunk.
Array limits(const std::vector<Run>& runs, std::int64_t ranges, const Wanted& wanted) {
  const Wanted values_only{.where = wanted.where};
  std::vector<Run> samples;
  const std::int64_t all = total(runs);
  for (const Run& run : runs) {
    const auto share = static_cast<double>(run.size()) / static_cast<double>(all);
    const auto count = static_cast<std::int64_t>(share * static_cast<double>(kSamples * ranges));
    const std::int64_t step =
        std::max<std::int64_t>(1, run.size() / std::max<std::int64_t>(count, kSamples));
    samples.push_back(
        {run.values.at({Slice{.start = step / 2, .step = step}}, wanted.where), {}, {}});
  }
  const Run sorted = merged({samples}, values_only).front();
  std::vector<std::int64_t> places;
  for (std::int64_t i = 1; i < ranges; ++i) {
    const std::int64_t place = i * sorted.size() / ranges;
    if (places.empty() || places.back() != place) places.push_back(place);
  }
  return rechunk_axes(take(sorted.values, places, 0, wanted.where), {{0, -1}}, wanted.where)
      .persist();
}

// The elements of all runs, range by range; no value lies in two ranges.
std::vector<std::vector<Run>> by_range(const std::vector<Run>& runs, std::int64_t ranges,
                                       const Wanted& wanted) {
  const Array between = limits(runs, ranges, wanted);
  std::vector<Array> searches;
  for (const Run& run : runs) {
    searches.push_back(searchsorted(run.values, between, {}, wanted.where));
  }
  const std::vector<HostArray> places = compute(searches);
  std::vector<std::vector<Run>> out(static_cast<std::size_t>(between.size()) + 1);
  for (std::size_t r = 0; r < runs.size(); ++r) {
    const auto ends = places[r].span<std::int64_t>();
    std::int64_t begin = 0;
    for (std::size_t p = 0; p < out.size(); ++p) {
      const std::int64_t end = p < ends.size() ? ends[p] : runs[r].size();
      if (end > begin) out[p].push_back(slice(runs[r], begin, end, wanted));
      begin = end;
    }
  }
  std::erase_if(out, [](const std::vector<Run>& range) { return range.empty(); });
  return out;
}

/// The runs of all blocks of x without NaN, and how many elements are NaN.
struct BlockRuns {
  std::vector<Run> runs;
  std::int64_t nan_count = 0;
};

// Blocks of one column along the last axis get room for as many elements.
ChunkGrid padded(const ChunkGrid& grid, const std::vector<std::int64_t>& last) {
  std::vector<AxisChunks> axes;
  for (int i = 0; i + 1 < grid.rank(); ++i) {
    axes.push_back(AxisChunks::regular(grid.axis(i).count(), 1));
  }
  axes.push_back(AxisChunks::of(last));
  return ChunkGrid(std::move(axes));
}

BlockRuns block_runs(const Array& x, const Wanted& wanted) {
  const ChunkGrid& grid = x.chunks();
  const AxisChunks& last = grid.axis(x.ndim() - 1);
  std::int64_t lanes = 1;
  for (int i = 0; i + 1 < x.ndim(); ++i) lanes *= grid.axis(i).max_size();
  std::vector<std::int64_t> room;
  for (const std::int64_t size : last.extents()) room.push_back(std::min(kFirstRoom, lanes * size));
  std::vector<Array> inputs{x};
  if (wanted.first) {
    inputs.push_back(array::rechunk_to(
        reshape(arange(x.size(), {}, wanted.where), x.shape(), wanted.where), grid, wanted.where));
  }
  const bool may_be_nan = is_floating(x.dtype()) || is_complex(x.dtype());
  std::vector<Array> wished = distinct(inputs, padded(grid, room), false, wanted);
  if (may_be_nan) {
    wished.push_back(count_nonzero(isnan(Operand(x, wanted.where)), {}, wanted.where));
  }
  std::vector<Array> kept = persist(wished);
  BlockRuns out;
  if (may_be_nan) {
    out.nan_count = kept.back().item<std::int64_t>();
    kept.pop_back();
  }
  const std::vector<std::int64_t> found = numbers(kept.back());
  const std::int64_t columns = last.count();
  std::vector<std::int64_t> needed(room.size(), 1);
  bool fits = true;
  for (std::size_t b = 0; b < found.size(); ++b) {
    const std::size_t column = b % static_cast<std::size_t>(columns);
    needed[column] = std::max(needed[column], found[b]);
    fits = fits && found[b] <= room[column];
  }
  if (!fits) {
    room = needed;
    kept = persist(distinct(inputs, padded(grid, room), false, wanted));
    if (numbers(kept.back()) != found) {
      throw InvalidArgument(
          "[unique] an array must have the same elements whenever it is computed; got others the "
          "second time; try persist()");
    }
  }
  for (std::size_t b = 0; b < found.size(); ++b) {
    if (found[b] == 0) continue;
    const BlockIndex block = kept.back().chunks().unlinear(static_cast<std::int64_t>(b));
    std::vector<Index> index(block.begin(), block.end() - 1);
    const std::int64_t begin = kept.front().chunks().axis(x.ndim() - 1).begin(block.back());
    index.emplace_back(Slice{.start = begin, .stop = begin + found[b]});
    std::size_t next = 0;
    Run run{kept[next++].at(index, wanted.where), {}, {}};
    if (wanted.counts) run.counts = kept[next++].at(index, wanted.where);
    if (wanted.first) run.first = kept[next++].at(index, wanted.where);
    out.runs.push_back(std::move(run));
  }
  return out;
}

// One run in as many chunks as it needs, without NaN.
Run merge_runs(std::vector<Run> runs, std::int64_t limit, const Wanted& wanted) {
  while (runs.size() > 1 && total(runs) > limit) {
    const std::vector<std::vector<Run>> groups = grouped(runs, limit);
    if (groups.size() > runs.size() / 2) break;
    runs = merged(groups, wanted);
  }
  const std::int64_t ranges = (2 * total(runs) + limit - 1) / limit;
  if (runs.size() > 1) {
    const bool one = total(runs) <= limit;
    runs =
        merged(one ? std::vector<std::vector<Run>>{runs} : by_range(runs, ranges, wanted), wanted);
  }
  return joined(runs, wanted);
}

Run empty_run(DType dtype, const Wanted& wanted) {
  const auto none = [&](DType type) { return zeros({0}, {.dtype = type}, wanted.where); };
  Run out{none(dtype), {}, {}};
  if (wanted.counts) out.counts = none(DType::kInt64);
  if (wanted.first) out.first = none(DType::kInt64);
  return out;
}

struct Distinct {
  Run run;             ///< all distinct elements, the NaNs at the end
  Array numbers_only;  ///< the values that are not NaN
  std::int64_t nan_count = 0;
};

Distinct find_distinct(const Array& given, const Wanted& wanted) {
  const Array x = given.ndim() == 0 ? ravel(given, wanted.where) : given;
  if (x.size() == 0) {
    Run none = empty_run(x.dtype(), wanted);
    return {none, none.values, 0};
  }
  const BlockRuns blocks = block_runs(x, wanted);
  const std::int64_t limit = std::max(kSmallestLimit, x.chunks().max_block_elements());
  std::vector<Run> parts;
  if (!blocks.runs.empty()) parts.push_back(merge_runs(blocks.runs, limit, wanted));
  if (blocks.nan_count > 0) {
    const Array flat = ravel(x, wanted.where);
    const Array mask = isnan(Operand(flat, wanted.where));
    Run nan{masked_select(flat, mask, wanted.where), {}, {}};
    if (wanted.counts) {
      nan.counts = ones({blocks.nan_count}, {.dtype = DType::kInt64}, wanted.where);
    }
    if (wanted.first) nan.first = nonzero(mask, wanted.where)[0];
    parts.push_back(std::move(nan));
  }
  Run all = joined(parts, wanted);
  std::vector<Array> wished{all.values};
  if (all.counts) wished.push_back(*all.counts);
  if (all.first) wished.push_back(*all.first);
  // Dense copies, so that the padded blocks of the runs can go.
  const std::vector<Array> kept = persist(wished);
  all.values = kept[0];
  if (all.counts) all.counts = kept[1];
  if (all.first) all.first = kept.back();
  const std::int64_t numbers = all.size() - blocks.nan_count;
  return {all, all.values.at({Slice{.stop = numbers}}, wanted.where), blocks.nan_count};
}

// Which of the distinct elements each element of x is.
Array inverse_of(const Array& x, const Distinct& distinct, const std::source_location& where) {
  const Array place = searchsorted(distinct.numbers_only, x, {}, where);
  if (distinct.nan_count == 0) return place;
  // NaNs stand behind all numbers, in the order of the flattened array.
  const Array nan = isnan(Operand(x, where));
  const Array flat = array::cast(ravel(nan, where), DType::kInt64, where);
  const Array number = reshape(cumulative_sum(flat, {.axis = 0}, where), x.shape(), where);
  const std::int64_t before = distinct.numbers_only.size() - 1;
  const Array nan_place = add(Operand(number, where), Operand(before, where));
  return tessera::where(Operand(nan, where), Operand(nan_place, where), Operand(place, where));
}

}  // namespace

Array unique_values(const Array& x, std::source_location where) {
  return find_distinct(x, {.where = where}).run.values;
}

UniqueCounts unique_counts(const Array& x, std::source_location where) {
  const Distinct distinct = find_distinct(x, {.counts = true, .where = where});
  return {distinct.run.values, *distinct.run.counts};
}

UniqueInverse unique_inverse(const Array& x, std::source_location where) {
  const Distinct distinct = find_distinct(x, {.where = where});
  return {distinct.run.values, inverse_of(x, distinct, where)};
}

UniqueAll unique_all(const Array& x, std::source_location where) {
  const Distinct distinct = find_distinct(x, {.counts = true, .first = true, .where = where});
  return {distinct.run.values, *distinct.run.first, inverse_of(x, distinct, where),
          *distinct.run.counts};
}

}  // namespace tessera
