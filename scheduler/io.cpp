#include "tessera/io.hpp"

#include <algorithm>
#include <map>
#include <memory>

#include "array/node.hpp"
#include "core/text.hpp"
#include "io/store.hpp"
#include "scheduler/lineage.hpp"
#include "scheduler/plan/lower.hpp"
#include "scheduler/seams.hpp"
#include "scheduler/team.hpp"
#include "tessera/blocks.hpp"
#include "tessera/elementwise.hpp"
#include "tessera/error.hpp"
#include "tessera/manipulation.hpp"
#include "tessera/session.hpp"

namespace tessera {
namespace {

constexpr std::size_t kSmallestBlock = std::size_t{4} << 20;
constexpr std::size_t kWantedBlocks = 64;

std::size_t at(int axis) { return static_cast<std::size_t>(axis); }

const core::FileSystem& files() { return *scheduler::Seams::current().files; }

// Along the joined axis: whole files together while they fit `steps`, else each file cut at
// multiples of its own chunks.
AxisChunks cut_joined(const io::Source& source, std::int64_t steps) {
  const std::int64_t stored =
      source.stored_chunks.empty() ? 1 : source.stored_chunks[at(source.joined_axis)];
  const std::int64_t piece =
      steps > stored ? steps / stored * stored : std::max<std::int64_t>(steps, 1);
  std::vector<std::int64_t> extents;
  std::int64_t open = 0;
  const auto flush = [&] {
    if (open > 0) extents.push_back(open);
    open = 0;
  };
  for (const std::int64_t extent : source.file_extents) {
    if (open + extent > steps) flush();
    if (extent <= steps) {
      open += extent;
      continue;
    }
    for (std::int64_t begin = 0; begin < extent; begin += piece) {
      extents.push_back(std::min(piece, extent - begin));
    }
  }
  flush();
  if (extents.empty()) extents.push_back(0);
  return AxisChunks::of(std::move(extents));
}

// Depends on the files alone, so that results do not change with the machine.
ChunkGrid default_grid(const io::Source& source) {
  const Shape& shape = source.info.shape;
  const std::size_t item = itemsize(source.info.dtype);
  const std::size_t bytes = static_cast<std::size_t>(element_count(shape)) * item;
  const std::size_t wanted = std::clamp(bytes / kWantedBlocks, kSmallestBlock, array::kBlockBytes);
  const int joined = source.joined_axis;
  if (joined < 0) return Chunks().resolve(shape, source.info.dtype, "open");
  // Other axes stay whole unless a single step along the joined one is too large.
  std::vector<std::int64_t> block = shape;
  block[at(joined)] = 1;
  const auto block_bytes = [&] { return static_cast<std::size_t>(element_count(block)) * item; };
  for (std::size_t axis = 0; axis < shape.size() && block_bytes() > array::kBlockBytes; ++axis) {
    if (axis == at(joined)) continue;
    const std::int64_t stored = source.stored_chunks.empty() ? 1 : source.stored_chunks[axis];
    const std::size_t one = block_bytes() / static_cast<std::size_t>(block[axis]);
    const auto fitting =
        static_cast<std::int64_t>(array::kBlockBytes / std::max<std::size_t>(one, 1));
    block[axis] = std::min(shape[axis], std::max(stored, fitting / stored * stored));
  }
  const std::size_t slice = std::max<std::size_t>(block_bytes(), 1);
  std::vector<AxisChunks> axes;
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    if (axis == at(joined)) {
      axes.push_back(
          cut_joined(source, std::max<std::int64_t>(1, static_cast<std::int64_t>(wanted / slice))));
    } else {
      axes.push_back(AxisChunks::regular(shape[axis], std::max<std::int64_t>(1, block[axis])));
    }
  }
  return ChunkGrid(std::move(axes));
}

// Whole chunks of the store, doubled along the last axes until blocks are large enough.
ChunkGrid chunked_grid(const io::Source& source) {
  const Shape& shape = source.info.shape;
  const std::size_t item = itemsize(source.info.dtype);
  const std::size_t bytes = static_cast<std::size_t>(element_count(shape)) * item;
  const std::size_t wanted = std::clamp(bytes / kWantedBlocks, kSmallestBlock, array::kBlockBytes);
  Shape block = source.stored_chunks;
  for (std::size_t axis = block.size(); axis-- > 0;) {
    while (block[axis] < shape[axis] &&
           2 * static_cast<std::size_t>(element_count(block)) * item <= wanted)
      block[axis] *= 2;
  }
  std::vector<AxisChunks> axes;
  for (std::size_t axis = 0; axis < shape.size(); ++axis)
    axes.push_back(AxisChunks::regular(shape[axis], block[axis]));
  return ChunkGrid(std::move(axes));
}

using Writer = std::shared_ptr<io::RegionWriter>;

// Which blocks are written already: one rank looks, and tells all.
HostArray written_blocks(const scheduler::Team& team, const ChunkGrid& grid, const Writer& writer,
                         const std::source_location& where) {
  const auto look = [writer, grid](std::span<const InputBlock>, const OutputBlock& out) {
    for (std::int64_t block = 0; block < grid.block_count(); ++block) {
      Shape start;
      const BlockIndex index = grid.unlinear(block);
      for (int axis = 0; axis < grid.rank(); ++axis)
        start.push_back(grid.axis(axis).begin(index[at(axis)]));
      reinterpret_cast<std::uint8_t*>(out.data)[block] = writer->has(start) ? 1 : 0;
    }
  };
  MapBlocksOptions options;
  options.dtype = DType::kUInt8;
  options.shape = grid.counts();
  options.chunks = Chunks(std::vector<std::int64_t>(at(grid.rank()), -1));
  options.name = "written_blocks";
  return team.compute({map_blocks(look, {}, options, where)})[0];
}

// Boxes of what is not there yet, each as large as it gets from its first element on.
class Unwritten {
 public:
  explicit Unwritten(const HostArray& written) : shape_(written.shape()) {
    for (const std::uint8_t flag : written.span<std::uint8_t>()) open_.push_back(flag == 0);
  }
  struct Box {
    Shape lo;
    Shape hi;
  };
  std::vector<Box> boxes() {
    std::vector<Box> out;
    for (std::size_t first = 0; first < open_.size(); ++first) {
      if (!open_[first]) continue;
      Shape lo(shape_.size());
      for (std::size_t axis = shape_.size(), rest = first; axis-- > 0;) {
        lo[axis] = static_cast<std::int64_t>(rest) % shape_[axis];
        rest /= static_cast<std::size_t>(shape_[axis]);
      }
      Shape hi = lo;
      for (std::int64_t& end : hi) ++end;
      for (std::size_t axis = shape_.size(); axis-- > 0;) grow(lo, hi, axis);
      each(lo, hi, [this](std::size_t element) { return open_[element] = false, true; });
      out.push_back({std::move(lo), std::move(hi)});
    }
    return out;
  }

 private:
  void grow(const Shape& lo, Shape& hi, std::size_t axis) const {
    Shape from = lo;
    Shape to = hi;
    for (; hi[axis] < shape_[axis]; ++hi[axis]) {
      from[axis] = hi[axis];
      to[axis] = hi[axis] + 1;
      if (!each(from, to, [this](std::size_t element) { return bool{open_[element]}; })) return;
    }
  }
  // Calls f with each element of a box, until it returns false.
  template <typename F>
  bool each(const Shape& lo, const Shape& hi, F&& f) const {
    Shape index = lo;
    for (;;) {
      std::size_t element = 0;
      for (std::size_t axis = 0; axis < shape_.size(); ++axis)
        element = element * static_cast<std::size_t>(shape_[axis]) +
                  static_cast<std::size_t>(index[axis]);
      if (!f(element)) return false;
      std::size_t axis = shape_.size();
      while (axis > 0 && ++index[axis - 1] == hi[axis - 1]) --axis, index[axis] = lo[axis];
      if (axis == 0) return true;
    }
  }
  Shape shape_;
  std::vector<bool> open_;
};

std::int64_t task_count(const std::vector<Array>& arrays) {
  std::vector<scheduler::Goal> goals;
  for (const Array& array : arrays) goals.push_back({array, scheduler::Goal::Kind::kKeep, nullptr});
  return scheduler::lower(goals, {}).plan.total_tasks();
}

// What a computation makes of an array is a product of sets along the axes, so that only boxes that
// differ along the first axis alone do not bring in others. Apart they may share what they start
// from, which is computed each time: whatever is less.
void compute_unwritten(const scheduler::Team& team, const Array& blocks, const HostArray& written,
                       const std::source_location& where) {
  constexpr std::size_t kMostParts = 64;
  std::map<std::vector<std::int64_t>, std::vector<Array>> parts;
  std::vector<Array> all;
  for (const Unwritten::Box& box : Unwritten(written).boxes()) {
    std::vector<Index> index;
    std::vector<std::int64_t> others;
    for (std::size_t axis = 0; axis < box.lo.size(); ++axis) {
      index.emplace_back(Slice{box.lo[axis], box.hi[axis]});
      if (axis > 0) others.insert(others.end(), {box.lo[axis], box.hi[axis]});
    }
    all.push_back(blocks.at(index, where));
    if (parts.size() <= kMostParts) parts[others].push_back(all.back());
  }
  if (parts.size() > kMostParts) return void(team.compute({blocks}));
  std::int64_t tasks = 0;
  for (const auto& [others, arrays] : parts) tasks += task_count(arrays);
  if (tasks >= task_count(all)) return void(team.compute(all));
  for (const auto& [others, arrays] : parts) team.compute(arrays);
}

// Computes the array and hands each block to the writer, but for those that it has where this is
// done `again` and gives the same again. What is kept of a block is one byte, which says that it is
// written.
void write_blocks(const scheduler::Team& team, const Array& array, const Writer& writer,
                  const char* name, const std::source_location& where, bool again = false) {
  std::vector<std::vector<std::int64_t>> ones;
  Shape blocks = array.chunks().counts();
  for (const std::int64_t count : blocks) ones.emplace_back(at(static_cast<int>(count)), 1);
  const auto write_block = [writer](std::span<const InputBlock> in, const OutputBlock& out) {
    const InputBlock& block = in[0];
    if (block.size() > 0) {
      writer->write({block.start.begin(), block.start.end()},
                    {block.shape.begin(), block.shape.end()}, block.data);
    }
    std::fill_n(reinterpret_cast<std::uint8_t*>(out.data), out.size(), std::uint8_t{1});
  };
  MapBlocksOptions options;
  options.dtype = DType::kUInt8;
  options.shape = std::move(blocks);
  options.chunks = Chunks(std::move(ones));
  options.name = name;
  const Array all = map_blocks(write_block, {array}, options, where);
  const bool skips = again && scheduler::find_node(array, scheduler::is_impure) == nullptr;
  if (!skips || all.ndim() == 0 || all.size() == 0) {
    team.compute({all});
  } else {
    compute_unwritten(team, all, written_blocks(team, array.chunks(), writer, where), where);
  }
}

}  // namespace

Array open(const std::string& path, const std::string& variable, const OpenOptions& options,
           std::source_location where) {
  const io::Source source = io::open_netcdf(files(), path, variable, options.dimension);
  ChunkGrid grid = options.chunks
                       ? options.chunks->resolve(source.info.shape, source.info.dtype, "open")
                       : default_grid(source);
  return array::make_array("open", array::Stored{source.reader}, {}, source.info.dtype,
                           std::move(grid), where);
}

VariableInfo describe(const std::string& path, const std::string& variable,
                      const OpenOptions& options) {
  return io::open_netcdf(files(), path, variable, options.dimension).info;
}

std::vector<VariableInfo> list_variables(const std::string& path) {
  return io::list_netcdf(files(), path);
}

Array open_zarr(const std::string& path, const OpenZarrOptions& options,
                std::source_location where) {
  const io::Source source = io::open_zarr(files(), path);
  ChunkGrid grid = options.chunks
                       ? options.chunks->resolve(source.info.shape, source.info.dtype, "open_zarr")
                       : chunked_grid(source);
  return array::make_array("open_zarr", array::Stored{source.reader}, {}, source.info.dtype,
                           std::move(grid), where);
}

Array load_npy(const std::string& path, const NpyOptions& options, std::source_location where) {
  const io::Source source = io::open_npy(files(), path);
  return array::make_array("load_npy", array::Stored{source.reader}, {}, source.info.dtype,
                           options.chunks.resolve(source.info.shape, source.info.dtype, "load_npy"),
                           where);
}

void save_npy(const Array& array, const std::string& path, std::source_location where) {
  core::AtomicFile::Shared shared;
  scheduler::Team::work([&](const scheduler::Team& team, bool) {
    std::shared_ptr<io::RegionWriter> writer;
    shared = {team.tag(), team.leads(), shared.tag};
    const auto open_file = [&] {
      writer = team.alone()
                   ? io::create_npy(files(), path, array.shape(), array.dtype())
                   : io::create_shared_npy(files(), path, array.shape(), array.dtype(), shared);
    };
    // The leader's file is there before others open it, and gets its name after they have written.
    team.together([&] { team.leads() ? open_file() : void(); });
    team.together([&] { team.leads() ? void() : open_file(); });
    write_blocks(team, array, writer, "save_npy", where);
    team.together([&] { team.leads() ? void() : writer->finish(); });
    team.together([&] { team.leads() ? writer->finish() : void(); });
  });
}

SaveNetcdfOptions save_as(const VariableInfo& info, std::vector<std::string> dimensions) {
  SaveNetcdfOptions options;
  options.variable = info.name;
  options.units = info.units;
  options.long_name = info.long_name;
  options.standard_name = info.standard_name;
  options.dimensions = dimensions.empty() ? info.dimensions : std::move(dimensions);
  for (const Coordinate& coordinate : info.coordinates) {
    const auto& names = options.dimensions;
    if (std::find(names.begin(), names.end(), coordinate.dimension) != names.end())
      options.coordinates.push_back(coordinate);
  }
  return options;
}

void save_netcdf(const Array& array, const std::string& path, const SaveNetcdfOptions& options,
                 std::source_location where) {
  Shape block;
  for (const AxisChunks& axis : array.chunks().axes()) block.push_back(axis.max_size());
  scheduler::Team::work([&](const scheduler::Team& team, bool) {
    std::shared_ptr<io::RegionWriter> writer;
    team.together([&] {
      const io::Writers who = team.alone()   ? io::Writers::kOne
                              : team.leads() ? io::Writers::kLeader
                                             : io::Writers::kOther;
      writer = io::create_netcdf(files(), path, options, array.shape(), array.dtype(), block, who);
    });
    // A file has one writer: with several ranks, whoever has it as one block.
    Array blocks = array;
    if (!team.alone() && array.ndim() > 0) {
      std::vector<std::int64_t> whole(array.shape().size(), -1);
      if (options.steps_per_file > 0) whole[0] = options.steps_per_file;
      blocks = rechunk(array, Chunks(std::move(whole)), where);
    } else if (options.steps_per_file > 0 && block[0] > options.steps_per_file) {
      // Else a block would open all files that it has a part of.
      blocks = rechunk_axes(array, {{0, options.steps_per_file}}, where);
    }
    write_blocks(team, blocks, writer, "save_netcdf", where);
    team.together([&] { writer->finish(); });
  });
}

void save_zarr(const Array& array, const std::string& path, const SaveZarrOptions& options,
               std::source_location where) {
  Shape chunks;
  for (int axis = 0; axis < array.ndim(); ++axis) {
    const AxisChunks& own = array.chunks().axis(axis);
    chunks.push_back(std::max<std::int64_t>(own.max_size(), 1));
    if (own.extent() > 0 && own != AxisChunks::regular(own.extent(), chunks.back())) {
      throw InvalidArgument(core::text(
          "[save_zarr] chunks of a Zarr array have one size along an axis, but the last; got ",
          array.chunks().to_string(), "; try rechunk_axes(x, {{", axis, ", ", chunks.back(),
          "}})"));
    }
  }
  io::WritersOfFolder writers;
  scheduler::Team::work([&](const scheduler::Team& team, bool again) {
    std::shared_ptr<io::RegionWriter> writer;
    writers.who = team.alone()    ? io::Writers::kOne
                  : !team.leads() ? io::Writers::kOther
                  : again         ? io::Writers::kNextLeader
                                  : io::Writers::kLeader;
    if (writers.call.empty()) writers.call = team.tag();
    writers.beginning = team.tag();
    writers.durable = team.recovers();
    const auto create = [&] {
      writer =
          io::create_zarr(files(), path, options, array.shape(), array.dtype(), chunks, writers);
    };
    try {
      // The leader's folder is there before others write into it, and is an array after they have.
      team.together([&] { team.leads() ? create() : void(); });
      team.together([&] { team.leads() ? void() : create(); });
      write_blocks(team, array, writer, "save_zarr", where, again);
      team.together([&] { writer->finish(); });
    } catch (const scheduler::Team::Changed&) {
      // What is written stays written.
      if (writer != nullptr) writer->abandon();
      throw;
    } catch (...) {
      // Another one may be the leader of the same folder by now.
      if (writer != nullptr && !team.holds()) writer->abandon();
      throw;
    }
  });
}

void save_png(const Array& array, const std::string& path, const PngOptions& options,
              std::source_location where) {
  if (array.ndim() != 2 || is_complex(array.dtype())) {
    throw InvalidArgument(core::text(
        "[save_png] the array must be real and have 2 axes; got shape ", to_string(array.shape()),
        ", dtype ", array.dtype(), "; try indexing, squeeze or abs"));
  }
  const HostArray values = astype(array, DType::kFloat64, where).compute();
  scheduler::Team::work([&](const scheduler::Team& team, bool) {
    team.together([&] {
      if (!team.leads()) return;
      io::write_picture(files(), path, values.span<double>(), array.shape()[0], array.shape()[1],
                        options);
    });
  });
}

}  // namespace tessera
