#include "io/netcdf/netcdf_pile_writer.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::io {

NetcdfPileWriter::NetcdfPileWriter(const core::FileSystem& file_system, const std::string& path,
                                   NetcdfPileSpec spec, Writers writers)
    : file_system_(&file_system), path_(path), spec_(std::move(spec)), writers_(writers) {
  if (spec_.steps_per_file > 0) check_pattern();
  if (writers == Writers::kOne) open(0);
}

std::int64_t NetcdfPileWriter::files() const noexcept {
  if (spec_.steps_per_file == 0) return 1;
  return std::max<std::int64_t>(1, (spec_.shape[0] - 1) / spec_.steps_per_file + 1);
}

std::int64_t NetcdfPileWriter::begin_of(std::int64_t file) const noexcept {
  return std::min(file * spec_.steps_per_file, spec_.shape[0]);
}

Shape NetcdfPileWriter::shape_of(std::int64_t file) const {
  Shape shape = spec_.shape;
  if (spec_.steps_per_file > 0) shape[0] = begin_of(file + 1) - begin_of(file);
  return shape;
}

// Numbers have the same length, so that names also sort as text.
std::string NetcdfPileWriter::path_of(std::int64_t file) const {
  if (spec_.steps_per_file == 0) return path_;
  std::string number = std::to_string(file);
  const std::size_t digits = std::to_string(files() - 1).size();
  number.insert(0, digits - number.size(), '0');
  std::string path = path_;
  return path.replace(path.find('*'), 1, number);
}

void NetcdfPileWriter::check_pattern() const {
  if (std::count(path_.begin(), path_.end(), '*') != 1) {
    throw InvalidArgument(
        core::text("[save_netcdf] the path of several files has one *, for their "
                   "numbers; got ",
                   path_, "; try a name such as mean_*.nc"));
  }
  std::set<std::string> own;
  for (std::int64_t file = 0; file < files(); ++file) own.insert(path_of(file));
  for (const std::string& found : file_system_->glob(path_, "save_netcdf")) {
    if (own.contains(found)) continue;
    throw IoError(core::text(
        "[save_netcdf] all files that match the path are to be those written; "
        "got ",
        found, " beside ", own.size(), " of ", path_, "; try another name, or removing it"));
  }
}

NetcdfPileWriter::Part& NetcdfPileWriter::open(std::int64_t file) {
  const auto known = open_.find(file);
  if (known != open_.end()) return known->second;
  const Shape shape = shape_of(file);
  NetcdfWriter writer = NetcdfWriter::create(*file_system_, path_of(file));
  writer.add_attribute(NetcdfAttribute::text("Conventions", "CF-1.8"));
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    // An unlimited axis is as long as what is written.
    const bool unlimited = axis == 0 && spec_.steps_per_file > 0 && element_count(spec_.shape) > 0;
    writer.add_dimension(spec_.variable.dimensions[axis], unlimited ? 0 : shape[axis], unlimited);
  }
  for (const PileCoordinate& coordinate : spec_.coordinates) {
    NetcdfVariableSpec variable;
    variable.name = coordinate.name;
    variable.dimensions = {coordinate.dimension};
    variable.attributes = coordinate.attributes;
    writer.add_variable(variable);
  }
  NetcdfVariableSpec variable = spec_.variable;
  for (std::size_t axis = 0; axis < variable.chunk_shape.size(); ++axis) {
    std::int64_t& extent = variable.chunk_shape[axis];
    extent = std::max<std::int64_t>(1, std::min(extent, shape[axis]));
  }
  writer.add_variable(variable);
  for (const PileCoordinate& coordinate : spec_.coordinates) {
    const auto axis = static_cast<std::size_t>(
        std::find(variable.dimensions.begin(), variable.dimensions.end(), coordinate.dimension) -
        variable.dimensions.begin());
    const std::int64_t first = axis == 0 && spec_.steps_per_file > 0 ? begin_of(file) : 0;
    if (shape[axis] > 0)
      writer.write(coordinate.name, {0}, {shape[axis]}, coordinate.values.data() + first);
  }
  return open_.emplace(file, Part{std::move(writer), element_count(shape)}).first->second;
}

void NetcdfPileWriter::write(const Shape& start, const Shape& count, const std::byte* in) {
  const std::lock_guard lock(mutex_);
  if (spec_.steps_per_file == 0) return write_part(0, start, count, in);
  std::int64_t row = static_cast<std::int64_t>(itemsize(spec_.variable.dtype));
  for (std::size_t axis = 1; axis < count.size(); ++axis) row *= count[axis];
  for (std::int64_t at = start[0]; at < start[0] + count[0];) {
    const std::int64_t file = at / spec_.steps_per_file;
    Shape from = start;
    Shape size = count;
    from[0] = at - begin_of(file);
    size[0] = std::min(begin_of(file + 1), start[0] + count[0]) - at;
    write_part(file, std::move(from), size, in + (at - start[0]) * row);
    at += size[0];
  }
}

void NetcdfPileWriter::write_part(std::int64_t file, Shape start, const Shape& count,
                                  const std::byte* in) {
  Part& part = open(file);
  part.writer.write(spec_.variable.name, start, count, in);
  part.left -= element_count(count);
  if (part.left > 0) return;
  part.writer.finish();
  open_.erase(file);
}

void NetcdfPileWriter::finish() {
  const std::lock_guard lock(mutex_);
  const bool empty = element_count(spec_.shape) == 0;
  for (std::int64_t file = 0; file < files() && empty && writers_ != Writers::kOther; ++file) {
    open(file).writer.finish();
    open_.erase(file);
  }
}

}  // namespace tessera::io
