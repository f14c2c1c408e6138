#include "io/netcdf/netcdf_pile.hpp"

#include <algorithm>
#include <deque>
#include <mutex>
#include <utility>

#include "core/text.hpp"
#include "io/netcdf/cf_time.hpp"
#include "io/netcdf/pile_check.hpp"
#include "io/region.hpp"
#include "tessera/error.hpp"

namespace tessera::io {
namespace {

// Files that only the library can read stay open, so that their metadata are not read for every
// region.
constexpr std::size_t kMaxOpenFiles = 32;

}  // namespace

std::vector<std::string> find_netcdf_files(const core::FileSystem& file_system,
                                           const std::string& path, std::string_view where) {
  std::vector<std::string> files;
  const auto status = file_system.find(path, "netcdf");
  if (status && !status->is_directory) return {path};
  if (status) {
    for (const std::string& name : file_system.list(path, "netcdf")) {
      if (name.ends_with(".nc") && !name.starts_with('.')) {
        files.push_back(path.ends_with('/') ? path + name : path + "/" + name);
      }
    }
  } else {
    for (std::string& match : file_system.glob(path, "netcdf")) {
      const auto found = file_system.find(match, "netcdf");
      if (found && !found->is_directory) files.push_back(std::move(match));
    }
  }
  if (files.empty()) {
    throw IoError(core::text("[", where, "] a path must name at least one file; got ", path, ": ",
                             status ? "a folder without *.nc files" : "no such file and no match",
                             "; try checking the spelling of the path or pattern"));
  }
  return files;
}

struct NetcdfPile::State {
  struct Entry {
    std::string path;
    core::FileStatus status;
    std::int64_t begin = 0;
    std::mutex mutex;
    std::shared_ptr<const VariableLayout> layout;
  };

  const core::FileSystem* file_system = nullptr;
  NetcdfVariable variable;
  int concat_axis = -1;
  std::vector<std::string> paths;
  std::vector<std::int64_t> extents;
  std::vector<PileCoordinate> coordinates;
  std::vector<std::unique_ptr<Entry>> entries;

  std::mutex open_mutex;
  std::deque<std::pair<const Entry*, std::shared_ptr<NetcdfFile>>> open_files;

  std::shared_ptr<NetcdfFile> open_file(const Entry& entry);
  std::shared_ptr<const VariableLayout> layout_of(Entry& entry);
  void read_file(Entry& entry, const Shape& start, const Shape& count, void* out);
};

/// The library's view of a file, from the ones that are open if possible.
std::shared_ptr<NetcdfFile> NetcdfPile::State::open_file(const Entry& entry) {
  {
    const std::lock_guard lock(open_mutex);
    for (const auto& [owner, file] : open_files) {
      if (owner == &entry) return file;
    }
  }
  auto file = std::make_shared<NetcdfFile>(NetcdfFile::open(*file_system, entry.path));
  if (file->status() != entry.status)
    check_unchanged(file_system->open(entry.path, "netcdf"), entry.status);
  const std::lock_guard lock(open_mutex);
  open_files.emplace_back(&entry, file);
  if (open_files.size() > kMaxOpenFiles) open_files.pop_front();
  return file;
}

std::shared_ptr<const VariableLayout> NetcdfPile::State::layout_of(Entry& entry) {
  const std::lock_guard lock(entry.mutex);
  if (entry.layout == nullptr) {
    const NetcdfFile file = NetcdfFile::open(*file_system, entry.path);
    if (file.status() != entry.status)
      check_unchanged(file_system->open(entry.path, "netcdf"), entry.status);
    entry.layout = file.layout(variable.name);
  }
  return entry.layout;
}

void NetcdfPile::State::read_file(Entry& entry, const Shape& start, const Shape& count, void* out) {
  const auto layout = layout_of(entry);
  if (layout->kind == VariableLayout::Kind::kLibrary ||
      layout->kind == VariableLayout::Kind::kRawChunks) {
    return open_file(entry)->read(variable.name, start, count, out);
  }
  const core::File file = file_system->open(entry.path, "netcdf");
  check_unchanged(file, entry.status);
  read_layout(*layout, file, {}, start, count, out);
}

std::string PileCoordinate::text(std::string_view attribute) const {
  for (const NetcdfAttribute& entry : attributes) {
    if (entry.name == attribute && entry.is_text()) return entry.as_text();
  }
  return {};
}

NetcdfPile::NetcdfPile(std::unique_ptr<State> state) : state_(std::move(state)) {}
NetcdfPile::NetcdfPile(NetcdfPile&&) noexcept = default;
NetcdfPile& NetcdfPile::operator=(NetcdfPile&&) noexcept = default;
NetcdfPile::~NetcdfPile() = default;

NetcdfPile NetcdfPile::open(const core::FileSystem& file_system, const std::string& path,
                            const std::string& variable, const PileOptions& options) {
  const std::vector<std::string> files = find_netcdf_files(file_system, path, "netcdf");
  PileCheck check(file_system, files, variable, options);
  auto state = std::make_unique<State>();
  state->file_system = &file_system;
  state->variable = check.variable();
  state->concat_axis = check.concat_axis();
  std::int64_t total = 0;
  for (const PileMember& member : check.members()) {
    auto entry = std::make_unique<State::Entry>();
    entry->path = member.path;
    entry->status = member.status;
    entry->begin = total;
    total += member.extent;
    state->paths.push_back(member.path);
    state->extents.push_back(member.extent);
    state->entries.push_back(std::move(entry));
  }
  state->coordinates = check.coordinates();
  if (state->concat_axis >= 0)
    state->variable.shape[static_cast<std::size_t>(state->concat_axis)] = total;
  return NetcdfPile(std::move(state));
}

const NetcdfVariable& NetcdfPile::variable() const noexcept { return state_->variable; }
int NetcdfPile::concat_axis() const noexcept { return state_->concat_axis; }
const std::vector<std::string>& NetcdfPile::paths() const noexcept { return state_->paths; }
const std::vector<std::int64_t>& NetcdfPile::extents() const noexcept { return state_->extents; }
const std::vector<PileCoordinate>& NetcdfPile::coordinates() const noexcept {
  return state_->coordinates;
}

const PileCoordinate* NetcdfPile::coordinate(std::string_view name) const noexcept {
  for (const PileCoordinate& entry : state_->coordinates) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

const PileCoordinate* NetcdfPile::coordinate_of(std::string_view dimension) const noexcept {
  const PileCoordinate* own = coordinate(dimension);
  if (own != nullptr && !own->text("units").empty()) return own;
  for (const PileCoordinate& entry : state_->coordinates) {
    if (entry.dimension == dimension && CfTime::is_time_units(entry.text("units"))) return &entry;
  }
  return own;
}

void NetcdfPile::read_region(const Shape& start, const Shape& count, void* out) const {
  check_region("netcdf", core::text("variable ", variable().name, " of ", paths().front()), shape(),
               start, count);
  if (region_elements(count) == 0) return;
  if (state_->entries.size() == 1) return state_->read_file(*state_->entries[0], start, count, out);
  const auto axis = static_cast<std::size_t>(state_->concat_axis);
  // Parts of several files lie one after the other in `out` unless an outer axis runs over all of
  // them.
  bool stacked = true;
  for (std::size_t outer = 0; outer < axis; ++outer) stacked = stacked && count[outer] == 1;
  const std::size_t width = itemsize(dtype());
  const std::int64_t end = start[axis] + count[axis];
  auto* target = static_cast<std::byte*>(out);
  std::vector<std::byte> scratch;
  for (std::size_t i = 0; i < state_->entries.size(); ++i) {
    State::Entry& entry = *state_->entries[i];
    const std::int64_t from = std::max(start[axis], entry.begin);
    const std::int64_t to = std::min(end, entry.begin + state_->extents[i]);
    if (from >= to) continue;
    Shape part_start = start;
    Shape part_count = count;
    part_start[axis] = from - entry.begin;
    part_count[axis] = to - from;
    const std::size_t bytes = static_cast<std::size_t>(region_elements(part_count)) * width;
    if (stacked) {
      state_->read_file(entry, part_start, part_count, target);
      target += bytes;
      continue;
    }
    scratch.resize(bytes);
    state_->read_file(entry, part_start, part_count, scratch.data());
    Shape place(count.size(), 0);
    place[axis] = from - start[axis];
    copy_region(scratch.data(), part_count, Shape(count.size(), 0), out, count, place, part_count,
                width);
  }
}

}  // namespace tessera::io
