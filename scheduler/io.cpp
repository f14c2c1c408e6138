#include "tessera/io.hpp"

#include <algorithm>

#include "array/node.hpp"
#include "core/text.hpp"
#include "io/store.hpp"
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

// Computes the array and hands each block to the writer. What is kept of a block is one byte, which
// says that it is written.
void write_blocks(const scheduler::Team& team, const Array& array,
                  const std::shared_ptr<io::RegionWriter>& writer, const char* name,
                  const std::source_location& where) {
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
  team.compute(map_blocks(write_block, {array}, options, where));
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
  scheduler::Team::work([&](const scheduler::Team& team, bool) {
    std::shared_ptr<io::RegionWriter> writer;
    const auto open_file = [&] {
      writer = team.alone() ? io::create_npy(files(), path, array.shape(), array.dtype())
                            : io::create_shared_npy(files(), path, array.shape(), array.dtype(),
                                                    {team.tag(), team.leads()});
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
  scheduler::Team::work([&](const scheduler::Team& team, bool again) {
    std::shared_ptr<io::RegionWriter> writer;
    const auto create = [&] {
      const io::Writers who = !team.leads() ? io::Writers::kOther
                              : again       ? io::Writers::kNextLeader
                                            : io::Writers::kLeader;
      writer = io::create_zarr(files(), path, options, array.shape(), array.dtype(), chunks, who);
    };
    try {
      // The leader's folder is there before others write into it, and is an array after they have.
      team.together([&] { team.leads() ? create() : void(); });
      team.together([&] { team.leads() ? void() : create(); });
      write_blocks(team, array, writer, "save_zarr", where);
      team.together([&] { writer->finish(); });
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
