#include "io/zarr/zarr_array.hpp"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "core/text.hpp"
#include "core/visit_real.hpp"
#include "io/numpy_dtype.hpp"
#include "io/region.hpp"
#include "tessera/error.hpp"

namespace tessera::io {
namespace {

using nlohmann::json;

constexpr const char* kPart = ".partial";  // of what is being written

[[noreturn]] void malformed(const std::string& path, std::string_view field,
                            const std::string& problem) {
  throw IoError(core::text("[zarr] field \"", field, "\" of an array must be valid; got ", path,
                           ": ", problem, "; try writing the store again"));
}

// A field as JSON prints it, cut where it is long.
std::string shown(const json& value) {
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > 60) text.replace(57, std::string::npos, "...");
  return text;
}

class Fields {
 public:
  Fields(std::string path, const std::string& text) : path_(std::move(path)) {
    json_ = json::parse(text, nullptr, false);
    if (!json_.is_object()) {
      throw IoError(core::text("[zarr] metadata must be a JSON object; got ", path_,
                               ", which is not; try writing the store again"));
    }
  }
  const std::string& path() const noexcept { return path_; }
  const json& at(const char* name) const { return at(json_, name); }
  const json& at(const json& in, const char* name) const {
    const auto found = in.find(name);
    if (found == in.end()) malformed(path_, name, "it is missing");
    return *found;
  }
  const json* find(const char* name) const {
    const auto found = json_.find(name);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }
  Shape extents(const json& value, const char* name, std::int64_t least) const {
    Shape out;
    if (!value.is_array()) malformed(path_, name, shown(value));
    for (const json& extent : value) {
      if (!extent.is_number_integer() || extent.get<std::int64_t>() < least ||
          (extent.is_number_unsigned() && extent.get<std::uint64_t>() >> 63 != 0))
        malformed(path_, name, shown(value));
      out.push_back(extent.get<std::int64_t>());
    }
    if (out.size() > static_cast<std::size_t>(kMaxRank)) malformed(path_, name, "too many axes");
    return out;
  }
  std::string text(const json& value, const char* name) const {
    if (!value.is_string()) malformed(path_, name, shown(value));
    return value.get<std::string>();
  }

 private:
  std::string path_;
  json json_;
};

std::optional<double> real_of(const json& value) {
  if (value.is_number()) return value.get<double>();
  if (value.is_boolean()) return value.get<bool>() ? 1.0 : 0.0;
  if (value == "NaN") return std::numeric_limits<double>::quiet_NaN();
  if (value == "Infinity") return std::numeric_limits<double>::infinity();
  if (value == "-Infinity") return -std::numeric_limits<double>::infinity();
  return std::nullopt;
}

template <typename T>
void put(std::vector<std::byte>& out, T value) {
  std::memcpy(out.data(), &value, sizeof(T));
}

std::vector<std::byte> fill_of(const Fields& fields, const json* value, DType dtype) {
  std::vector<std::byte> out(itemsize(dtype));
  if (value == nullptr) return out;
  const bool pair = value->is_array() && value->size() == 2 && is_complex(dtype);
  const std::optional<double> re = real_of(pair ? (*value)[0] : *value);
  const std::optional<double> im = pair ? real_of((*value)[1]) : 0.0;
  if (!re || !im) malformed(fields.path(), "fill_value", shown(*value));
  const auto integer = [&]<typename T>(T) {
    if (value->is_boolean()) return put(out, static_cast<T>(*re));
    const bool fits = value->is_number_integer() &&
                      (value->is_number_unsigned() ? std::in_range<T>(value->get<std::uint64_t>())
                                                   : std::in_range<T>(value->get<std::int64_t>()));
    if (!fits) malformed(fields.path(), "fill_value", shown(*value));
    put(out, value->is_number_unsigned() ? static_cast<T>(value->get<std::uint64_t>())
                                         : static_cast<T>(value->get<std::int64_t>()));
  };
  switch (dtype) {
    case DType::kBool:
      put(out, static_cast<std::uint8_t>(*re != 0.0));
      break;
    case DType::kFloat16:
      if (*re != 0.0) malformed(fields.path(), "fill_value", shown(*value) + " for float16");
      break;
    case DType::kComplex64:
      put(out, std::complex<float>(static_cast<float>(*re), static_cast<float>(*im)));
      break;
    case DType::kComplex128:
      put(out, std::complex<double>(*re, *im));
      break;
    default:
      core::visit_real(dtype, [&]<typename T>(T zero) {
        if constexpr (std::is_integral_v<T>) {
          integer(zero);
        } else {
          put(out, static_cast<T>(*re));
        }
      });
  }
  return out;
}

void check_shapes(const Fields& fields, const ZarrMetadata& out) {
  if (out.chunks.size() != out.shape.size())
    malformed(fields.path(), "chunks",
              core::text(out.chunks.size(), " axes instead of ", out.shape.size()));
  for (const Shape* shape : {&out.shape, &out.chunks}) {
    std::int64_t bytes = static_cast<std::int64_t>(itemsize(out.dtype));
    for (const std::int64_t extent : *shape) {
      if (__builtin_mul_overflow(bytes, std::max<std::int64_t>(extent, 1), &bytes))
        malformed(fields.path(), "shape", "more than 63 bits of bytes");
    }
  }
}

char separator_of(const Fields& fields, const std::string& text) {
  if (text != "." && text != "/") malformed(fields.path(), "dimension_separator", text);
  return text[0];
}

ZarrMetadata read_version_2(const Fields& fields, const json& attributes) {
  ZarrMetadata out;
  if (fields.at("zarr_format") != 2)
    malformed(fields.path(), "zarr_format", shown(fields.at("zarr_format")));
  out.shape = fields.extents(fields.at("shape"), "shape", 0);
  out.chunks = fields.extents(fields.at("chunks"), "chunks", 1);
  const json& dtype = fields.at("dtype");
  const auto found = dtype.is_string() ? parse_numpy_dtype(dtype.get<std::string>()) : std::nullopt;
  if (!found) malformed(fields.path(), "dtype", shown(dtype) + ", which is not supported");
  out.dtype = found->dtype;
  out.swapped = found->swapped;
  if (fields.at("order") != "C")
    malformed(fields.path(), "order", shown(fields.at("order")) + ", and only \"C\" is read");
  if (const json* filters = fields.find("filters"); filters != nullptr && !filters->empty())
    malformed(fields.path(), "filters", shown(*filters) + ", which are not supported");
  if (const json* compressor = fields.find("compressor")) {
    out.codec = zarr_codec(fields.text(fields.at(*compressor, "id"), "compressor"), fields.path());
  }
  if (const json* separator = fields.find("dimension_separator"))
    out.separator = separator_of(fields, fields.text(*separator, "dimension_separator"));
  check_shapes(fields, out);
  out.fill = fill_of(fields, fields.find("fill_value"), out.dtype);
  const auto names = attributes.find("_ARRAY_DIMENSIONS");
  if (attributes.is_object() && names != attributes.end() && names->is_array()) {
    for (const json& name : *names)
      out.dimensions.push_back(name.is_string() ? name.get<std::string>() : "");
  }
  return out;
}

std::optional<DType> dtype_of_name(const std::string& text) {
  for (const DType dtype :
       {DType::kBool, DType::kInt8, DType::kInt16, DType::kInt32, DType::kInt64, DType::kUInt8,
        DType::kUInt16, DType::kUInt32, DType::kUInt64, DType::kFloat16, DType::kFloat32,
        DType::kFloat64, DType::kComplex64, DType::kComplex128}) {
    if (name(dtype) == text) return dtype;
  }
  return std::nullopt;
}

ZarrMetadata read_version_3(const Fields& fields) {
  ZarrMetadata out;
  if (fields.at("zarr_format") != 3 || fields.at("node_type") != "array")
    malformed(fields.path(), "node_type", shown(fields.at("node_type")));
  out.shape = fields.extents(fields.at("shape"), "shape", 0);
  const auto dtype = dtype_of_name(fields.text(fields.at("data_type"), "data_type"));
  if (!dtype)
    malformed(fields.path(), "data_type",
              shown(fields.at("data_type")) + ", which is not supported");
  out.dtype = *dtype;
  const json& grid = fields.at("chunk_grid");
  if (fields.at(grid, "name") != "regular") malformed(fields.path(), "chunk_grid", shown(grid));
  out.chunks =
      fields.extents(fields.at(fields.at(grid, "configuration"), "chunk_shape"), "chunk_shape", 1);
  const json& encoding = fields.at("chunk_key_encoding");
  const std::string kind = fields.text(fields.at(encoding, "name"), "chunk_key_encoding");
  if (kind != "default" && kind != "v2")
    malformed(fields.path(), "chunk_key_encoding", shown(encoding));
  out.prefix = kind == "default" ? "c" : "";
  out.separator = kind == "default" ? '/' : '.';
  const auto configuration = encoding.find("configuration");
  if (configuration != encoding.end() && configuration->contains("separator")) {
    out.separator =
        separator_of(fields, fields.text((*configuration)["separator"], "chunk_key_encoding"));
  }
  const json& codecs = fields.at("codecs");
  if (!codecs.is_array() || codecs.empty() || codecs.size() > 2 ||
      fields.at(codecs[0], "name") != "bytes")
    malformed(fields.path(), "codecs", shown(codecs) + "; \"bytes\" and one compressor are read");
  const auto bytes = codecs[0].find("configuration");
  out.swapped = bytes != codecs[0].end() && bytes->value("endian", "little") == "big";
  if (codecs.size() == 2)
    out.codec = zarr_codec(fields.text(fields.at(codecs[1], "name"), "codecs"), fields.path());
  check_shapes(fields, out);
  out.fill = fill_of(fields, fields.find("fill_value"), out.dtype);
  if (const json* names = fields.find("dimension_names"); names != nullptr && names->is_array()) {
    for (const json& name : *names)
      out.dimensions.push_back(name.is_string() ? name.get<std::string>() : "");
  }
  return out;
}

std::string chunk_path(const std::string& path, const ZarrMetadata& metadata, const Shape& index) {
  std::string key = metadata.prefix;
  for (const std::int64_t i : index) {
    if (!key.empty()) key += metadata.separator;
    key += std::to_string(i);
  }
  // A number has one chunk.
  if (key.empty()) key = "0";
  return path + "/" + key;
}

// Calls f for each index in the box [first, last].
template <typename F>
void for_each_index(const Shape& first, const Shape& last, F&& f) {
  Shape index = first;
  for (;;) {
    f(index);
    std::size_t axis = index.size();
    while (axis > 0 && ++index[axis - 1] > last[axis - 1]) {
      index[axis - 1] = first[axis - 1];
      --axis;
    }
    if (axis == 0) return;
  }
}

}  // namespace

ZarrArray::ZarrArray(const core::FileSystem& files, std::string path, ZarrMetadata metadata)
    : files_(&files), path_(std::move(path)), metadata_(std::move(metadata)) {}

ZarrArray ZarrArray::open(const core::FileSystem& files, const std::string& path) {
  const std::string old = path + "/.zarray";
  const std::string fresh = path + "/zarr.json";
  if (files.find(old, "zarr")) {
    const Fields fields(old, files.read_file(old, "zarr"));
    const std::string extra = path + "/.zattrs";
    json attributes = json::object();
    if (files.find(extra, "zarr"))
      attributes = json::parse(files.read_file(extra, "zarr"), nullptr, false);
    return ZarrArray(files, path, read_version_2(fields, attributes));
  }
  if (files.find(fresh, "zarr")) {
    const Fields fields(fresh, files.read_file(fresh, "zarr"));
    return ZarrArray(files, path, read_version_3(fields));
  }
  throw IoError(core::text("[zarr] an array is a folder with .zarray or zarr.json; got ", path,
                           ", which has neither; try the path of an array inside the store"));
}

bool ZarrArray::read_chunk(const Shape& index, std::span<std::byte> out) const {
  const std::string file = chunk_path(path_, metadata_, index);
  if (!files_->find(file, "zarr")) return false;
  zarr_decode(metadata_.codec, files_->read_file(file, "zarr"), out, file);
  if (metadata_.swapped) {
    const std::size_t width = component_width(metadata_.dtype);
    swap_bytes(out.data(), out.size() / width, width);
  }
  return true;
}

void ZarrArray::read_region(const Shape& start, const Shape& count, std::byte* out) const {
  check_region("zarr", path_, metadata_.shape, start, count);
  if (region_elements(count) == 0) return;
  const std::size_t item = itemsize(metadata_.dtype);
  const Shape& chunks = metadata_.chunks;
  const std::size_t rank = chunks.size();
  Shape first(rank), last(rank);
  for (std::size_t axis = 0; axis < rank; ++axis) {
    first[axis] = start[axis] / chunks[axis];
    last[axis] = (start[axis] + count[axis] - 1) / chunks[axis];
  }
  const auto chunk_bytes = static_cast<std::size_t>(element_count(chunks)) * item;
  // Kept by each thread: fresh pages cost more than the decoding.
  thread_local std::vector<std::byte> chunk;
  for_each_index(first, last, [&](const Shape& index) {
    Shape from(rank), to(rank), size(rank);
    for (std::size_t axis = 0; axis < rank; ++axis) {
      const std::int64_t begin = index[axis] * chunks[axis];
      const std::int64_t lo = std::max(begin, start[axis]);
      size[axis] = std::min(begin + chunks[axis], start[axis] + count[axis]) - lo;
      from[axis] = lo - begin;
      to[axis] = lo - start[axis];
    }
    if (size == chunks && count == chunks) {
      if (read_chunk(index, {out, chunk_bytes})) return;
    }
    chunk.resize(std::max(chunk.size(), chunk_bytes));
    if (!read_chunk(index, {chunk.data(), chunk_bytes})) {
      for (std::size_t i = 0; i < chunk_bytes; i += item)
        std::memcpy(chunk.data() + i, metadata_.fill.data(), item);
    }
    copy_region(chunk.data(), chunks, from, out, count, to, size, item);
  });
}

ZarrWriter::ZarrWriter(const core::FileSystem& files, std::string path, ZarrMetadata metadata,
                       int level, bool durable)
    : files_(&files),
      path_(std::move(path)),
      metadata_(std::move(metadata)),
      level_(level),
      durable_(durable) {}

ZarrWriter::ZarrWriter(ZarrWriter&& other) noexcept
    : files_(other.files_),
      path_(std::move(other.path_)),
      metadata_(std::move(other.metadata_)),
      level_(other.level_),
      pending_(std::exchange(other.pending_, false)),
      mark_(std::move(other.mark_)),
      durable_(other.durable_) {}

ZarrWriter ZarrWriter::create(const core::FileSystem& files, const std::string& given_path,
                              ZarrMetadata metadata, int level, const WritersOfFolder& writers) {
  std::string path = given_path;
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  ZarrWriter out(files, path, std::move(metadata), level, writers.durable);
  const std::string of_call = core::text(".", writers.call, ".");
  const std::string mark = core::text(of_call, writers.beginning, kPart);
  if (writers.who == Writers::kOther) {
    out.mark_ = path + "/" + mark;
    return out;
  }
  std::vector<std::string> earlier;
  if (files.find(path, "save_zarr")) {
    if (writers.who == Writers::kNextLeader) earlier = files.list(path, "save_zarr");
    std::erase_if(earlier, [&](const std::string& name) { return !name.starts_with(of_call); });
    if (earlier.empty()) {
      throw IoError(core::text("[save_zarr] an array is written where nothing is yet; got ", path,
                               ", which exists; try another path, or removing it"));
    }
  }
  // Of several processes, the folder has the mark from its first moment on.
  const bool marked = writers.who != Writers::kOne && earlier.empty();
  if (marked) out.path_ += of_call + (kPart + 1);
  files.make_directories(out.path_, "save_zarr");
  out.pending_ = true;
  if (writers.who == Writers::kOne) return out;
  files.create(out.path_ + "/" + mark, "save_zarr").close();
  if (marked) files.rename(out.path_, path, "save_zarr");
  out.path_ = path;
  out.mark_ = path + "/" + mark;
  for (const std::string& name : earlier) {
    if (name != mark) files.unlink(path + "/" + name, "save_zarr");
  }
  return out;
}

bool ZarrWriter::is_still_ours() const {
  return mark_.empty() || files_->find(mark_, "save_zarr").has_value();
}

void ZarrWriter::refuse_if_others_went_on() const {
  if (is_still_ours()) return;
  throw IoError(core::text("[save_zarr] processes that write an array together stay together; got ",
                           path_, ", with which the others have gone on without this one"));
}

ZarrWriter::~ZarrWriter() {
  if (!pending_) return;
  try {
    if (!is_still_ours()) return;
    for (const std::string& name : files_->list(path_, "save_zarr"))
      files_->unlink(path_ + "/" + name, "save_zarr");
    files_->remove_directory(path_, "save_zarr");
  } catch (const std::exception&) {
    // What is left is no array: it has no metadata.
  }
}

std::string ZarrWriter::chunk_file(const Shape& start) const {
  Shape index(metadata_.chunks.size());
  for (std::size_t axis = 0; axis < index.size(); ++axis)
    index[axis] = start[axis] / metadata_.chunks[axis];
  return chunk_path(path_, metadata_, index);
}

std::size_t ZarrWriter::chunk_bytes() const noexcept {
  return static_cast<std::size_t>(element_count(metadata_.chunks)) * itemsize(metadata_.dtype);
}

bool ZarrWriter::has_chunk(const Shape& start) const {
  const auto status = files_->find(chunk_file(start), "save_zarr");
  if (!status) return false;
  return metadata_.codec == ZarrCodec::kNone ? status->size_bytes == chunk_bytes()
                                             : status->size_bytes > 0;
}

void ZarrWriter::write_chunk(const Shape& start, const Shape& count, const std::byte* in) const {
  const std::size_t item = itemsize(metadata_.dtype);
  const Shape& chunks = metadata_.chunks;
  const std::size_t bytes = chunk_bytes();
  std::vector<std::byte> whole;
  if (count != chunks) {
    whole.resize(bytes);
    const Shape origin(chunks.size(), 0);
    copy_region(in, count, origin, whole.data(), chunks, origin, count, item);
    in = whole.data();
  }
  std::span<const std::byte> out(in, bytes);
  std::vector<std::byte> packed;
  if (metadata_.codec != ZarrCodec::kNone) {
    packed = zarr_encode(metadata_.codec, level_, out);
    out = packed;
  }
  const std::string name = chunk_file(start);
  const std::string part = core::text(name, ".", ::getpid(), kPart);
  core::File file = files_->create(part, "save_zarr");
  file.pwrite_all(out.data(), out.size(), 0);
  if (durable_) file.fsync();
  file.close();
  refuse_if_others_went_on();
  files_->rename(part, name, "save_zarr");
}

void ZarrWriter::finish() {
  if (!pending_) return;
  refuse_if_others_went_on();
  // What processes left that died over it.
  for (const std::string& name : files_->list(path_, "save_zarr")) {
    const std::string file = path_ + "/" + name;
    const bool partial = name.find(kPart) != std::string::npos;
    if (partial && file != mark_) files_->unlink(file, "save_zarr");
  }
  const auto write = [&](const char* name, const json& value) {
    core::AtomicFile file(*files_, path_ + "/" + name, "save_zarr");
    const std::string text = value.dump(2) + "\n";
    file.file().pwrite_all(text.data(), text.size(), 0);
    file.commit();
  };
  if (!metadata_.dimensions.empty())
    write(".zattrs", {{"_ARRAY_DIMENSIONS", metadata_.dimensions}});
  json compressor;
  if (metadata_.codec != ZarrCodec::kNone)
    compressor = {{"id", metadata_.codec == ZarrCodec::kZstd ? "zstd" : "zlib"}, {"level", level_}};
  write(".zarray", {{"zarr_format", 2},
                    {"shape", metadata_.shape},
                    {"chunks", metadata_.chunks},
                    {"dtype", numpy_dtype(metadata_.dtype)},
                    {"compressor", compressor},
                    {"fill_value", nullptr},
                    {"order", "C"},
                    {"filters", nullptr},
                    {"dimension_separator", std::string(1, metadata_.separator)}});
  // Last: until then another leader may have to go on.
  if (!mark_.empty()) files_->unlink(mark_, "save_zarr");
  pending_ = false;
}

}  // namespace tessera::io
