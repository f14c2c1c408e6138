#include "kernels/host/reduce_sink.hpp"

#include <algorithm>
#include <cstring>

#include "kernels/host/tile_plan.hpp"

namespace tessera::kernels::host {
namespace {

constexpr std::int64_t kColumns = TilePlan::kStripColumns;
constexpr std::int64_t kPanel = TilePlan::kMaxPanelRows;

std::size_t sum_of(const auto& bytes, std::size_t count) {
  std::size_t total = 0;
  for (std::size_t i = 0; i < count; ++i) total += bytes[i];
  return total;
}

}  // namespace

SinkTraits::SinkTraits(const ProgramReduction& reduction, DType dtype)
    : kernels(find_reduce_kernels(reduction.op, dtype)),
      finisher(reduction.op, dtype, reduced_dtype(reduction.op, dtype), reduction.ddof),
      finish(reduction.finish),
      itemsize(tessera::itemsize(dtype)) {}

std::size_t SinkTraits::scratch_bytes() const {
  constexpr auto kWide = static_cast<std::size_t>(kColumns);
  std::size_t bytes = kWide * sum_of(kernels.work_bytes, kernels.work_count);
  bytes += kWide * sum_of(kernels.plane_bytes, kernels.plane_count);
  if (kernels.blocked) bytes += LevelStack::bytes(kernels, kColumns);
  bytes += LevelStack::bytes(kernels, kPanel);
  return bytes;
}

ReduceSink::ReduceSink(const SinkTraits& traits, std::byte* memory)
    : traits_(&traits), kernels_(&traits.kernels) {
  for (std::size_t i = 0; i < kernels_->work_count; ++i) {
    work_[i] = memory;
    memory += kernels_->work_bytes[i] * static_cast<std::size_t>(kColumns);
  }
  for (std::size_t i = 0; i < kernels_->plane_count; ++i) {
    fresh_[i] = memory;
    memory += kernels_->plane_bytes[i] * static_cast<std::size_t>(kColumns);
  }
  if (kernels_->blocked) {
    blocks_ = LevelStack(*kernels_, memory, kColumns);
    memory += LevelStack::bytes(*kernels_, kColumns);
  }
  sequences_ = LevelStack(*kernels_, memory, kPanel);
}

void ReduceSink::begin_columns(std::int64_t cols) {
  cols_ = cols;
  position_ = 0;
  kernels_->init(work_, cols_);
}

// Into the columns of the states from `first` on.
void ReduceSink::fold(FoldArgs& args, ReduceSink* other, std::int64_t first) const {
  args.work = advance(work_, *kernels_, first);
  if (other == nullptr) return kernels_->fold(args);
  args.other = advance(other->work_, *other->kernels_, first);
  kernels_->fold_both(args);
}

void ReduceSink::fold_columns(TileView values, TileView index, std::int64_t rows, std::int64_t cols,
                              std::int64_t first_col, ReduceSink* other) {
  FoldArgs args;
  args.values = values.data;
  args.pitch = values.pitch;
  args.index = reinterpret_cast<const std::int64_t*>(index.data);
  args.index_pitch = index.pitch;
  args.rows = rows;
  args.cols = cols;
  args.first = position_ == 0;
  fold(args, other, first_col);
}

void ReduceSink::advance_rows(std::int64_t rows) {
  position_ += rows;
  if (!kernels_->blocked || position_ < kBlockRows) return;
  kernels_->flush(work_, position_, cols_, fresh_);
  blocks_.push(fresh_, cols_);
  kernels_->init(work_, cols_);
  position_ = 0;
}

Planes ReduceSink::take_columns() {
  if (!kernels_->blocked || position_ > 0) kernels_->flush(work_, position_, cols_, fresh_);
  if (!kernels_->blocked) return fresh_;
  if (position_ > 0) blocks_.push(fresh_, cols_);
  return blocks_.take_total(cols_);
}

void ReduceSink::begin_sequences(std::int64_t count) {
  cols_ = count;
  position_ = 0;
  kernels_->init(work_, count * kernels_->lanes);
}

void ReduceSink::fold_runs(TileView values, TileView index, std::int64_t length,
                           ReduceSink* other) {
  const std::int64_t block = kBlockRows * kernels_->lanes;
  FoldArgs args;
  args.values = values.data;
  args.index = reinterpret_cast<const std::int64_t*>(index.data);
  args.sequences = cols_;
  args.sequence_pitch = values.pitch;
  args.index_sequence_pitch = index.pitch;
  for (std::int64_t done = 0; done < length;) {
    const std::int64_t room = kernels_->blocked ? block - position_ : length;
    const std::int64_t n = std::min(length - done, room);
    fold_stretch(args, n, other);
    args.values += n * static_cast<std::int64_t>(traits_->itemsize);
    if (args.index != nullptr) args.index += n;
    position_ += n;
    done += n;
    if (other != nullptr) other->position_ = position_;
    if (kernels_->blocked && position_ == block) {
      flush_runs();
      kernels_->init(work_, cols_ * kernels_->lanes);
      position_ = 0;
    }
  }
}

/// Element `position` of a sequence belongs to lane position % lanes, wherever tiles were cut.
void ReduceSink::fold_stretch(FoldArgs args, std::int64_t length, ReduceSink* other) {
  const std::int64_t lanes = kernels_->lanes;
  args.pitch = lanes;
  args.index_pitch = lanes;
  for (std::int64_t done = 0; done < length;) {
    const std::int64_t position = position_ + done;
    const std::int64_t lane = position % lanes;
    const std::int64_t left = length - done;
    args.first = position < lanes;
    args.cols = lane > 0 || left < lanes ? std::min(lanes - lane, left) : lanes;
    args.rows = args.cols == lanes ? left / lanes : 1;
    fold(args, other, lane);
    const std::int64_t n = args.rows * args.cols;
    args.values += n * static_cast<std::int64_t>(traits_->itemsize);
    if (args.index != nullptr) args.index += n;
    done += n;
  }
}

void ReduceSink::flush_runs() {
  kernels_->collapse(work_, position_, cols_, fresh_);
  if (kernels_->blocked) blocks_.push(fresh_, cols_);
}

void ReduceSink::end_sequences(Parts parts) {
  // A sequence of one block is its own total.
  const bool one_block = !kernels_->blocked || blocks_.empty();
  if (one_block) {
    kernels_->collapse(work_, position_, cols_, fresh_);
  } else if (position_ > 0) {
    flush_runs();
  }
  const Planes totals = one_block ? fresh_ : blocks_.take_total(cols_);
  whole_ = totals;
  if (parts == Parts::kOneEach) sequences_.push(totals, cols_);
  for (std::int64_t r = 0; parts == Parts::kOfOne && r < cols_; ++r) {
    sequences_.push(advance(totals, *kernels_, r), 1);
  }
}

Planes ReduceSink::take_outputs(std::int64_t count) {
  return sequences_.empty() ? whole_ : sequences_.take_total(count);
}

void ReduceSink::write(Planes planes, std::int64_t count, std::int64_t first, std::int64_t stride,
                       std::int64_t total, std::byte* out) const {
  const std::int64_t run = stride == 1 ? count : 1;
  Planes to{};
  if (!traits_->finish) to = accumulator_planes(*kernels_, total, out);
  for (std::int64_t i = 0; i < count; i += run) {
    const std::int64_t element = first + i * stride;
    if (traits_->finish) {
      traits_->finisher.finish(
          planes, run, out + element * static_cast<std::int64_t>(traits_->finisher.itemsize()));
    } else {
      const Planes into = advance(to, *kernels_, element);
      for (std::size_t p = 0; p < kernels_->plane_count; ++p) {
        std::memcpy(into[p], planes[p], kernels_->plane_bytes[p] * static_cast<std::size_t>(run));
      }
    }
    planes = advance(planes, *kernels_, run);
  }
}

void ReduceSink::write_identity(std::int64_t total, std::byte* out) {
  for (std::int64_t done = 0; done < total; done += kColumns) {
    const std::int64_t n = std::min(kColumns, total - done);
    kernels_->identity(fresh_, n);
    write(fresh_, n, done, 1, total, out);
  }
}

}  // namespace tessera::kernels::host
