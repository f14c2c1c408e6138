#include "io/netcdf/classic_layout.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::io {
namespace {

constexpr std::size_t kBlockBytes = 64 * 1024;
constexpr std::uint32_t kDimensionTag = 0x0A;
constexpr std::uint32_t kVariableTag = 0x0B;
constexpr std::uint32_t kAttributeTag = 0x0C;

/// Bytes of a value of a classic type, 0 for an unknown one.
std::uint64_t type_size(std::uint32_t type) {
  static constexpr std::uint64_t kSizes[] = {0, 1, 1, 2, 4, 4, 8, 1, 2, 4, 8, 8};
  return type < std::size(kSizes) ? kSizes[type] : 0;
}

std::optional<DType> type_dtype(std::uint32_t type) {
  static constexpr std::optional<DType> kTypes[] = {std::nullopt,    DType::kInt8,  std::nullopt,
                                                    DType::kInt16,   DType::kInt32, DType::kFloat32,
                                                    DType::kFloat64, DType::kUInt8, DType::kUInt16,
                                                    DType::kUInt32,  DType::kInt64, DType::kUInt64};
  return type < std::size(kTypes) ? kTypes[type] : std::nullopt;
}

/// Reads big-endian header fields through a window of the file.
class HeaderReader {
 public:
  HeaderReader(const core::File& file, std::uint64_t size_bytes) : file_(file), size_(size_bytes) {}

  std::uint32_t word() { return static_cast<std::uint32_t>(number(4)); }
  /// A count or length: 4 bytes, 8 in CDF-5.
  std::uint64_t length() { return number(wide_counts ? 8 : 4); }
  std::uint64_t offset() { return number(wide_offsets ? 8 : 4); }
  std::string name() {
    const std::uint64_t bytes = length();
    require(bytes <= 64 * 1024, "a name is too long");
    std::string text(bytes, '\0');
    copy(text.data(), bytes);
    skip((4 - bytes % 4) % 4);
    return text;
  }
  void skip(std::uint64_t bytes) {
    require(bytes <= size_ - position_, "it ends inside the header");
    position_ += bytes;
  }
  void skip_attributes() {
    for (std::uint64_t i = list(kAttributeTag); i > 0; --i) {
      name();
      const std::uint64_t width = type_size(word());
      const std::uint64_t values = length();
      require(width > 0 && values <= size_, "an attribute is malformed");
      skip((values * width + 3) / 4 * 4);
    }
  }
  /// Number of entries of a list with this tag; an absent list has two zeros.
  std::uint64_t list(std::uint32_t tag) {
    const std::uint32_t found = word();
    const std::uint64_t entries = length();
    require(found == tag || (found == 0 && entries == 0), "a list has a wrong tag");
    require(entries <= size_, "a list is longer than the file");
    return entries;
  }
  void require(bool condition, const char* problem) const {
    if (condition) return;
    throw IoError(core::text("[netcdf] a classic file must be whole; got ", file_.path(), ": ",
                             problem, "; try copying the file again"));
  }

  bool wide_counts = false;
  bool wide_offsets = false;

 private:
  std::uint64_t number(std::size_t bytes) {
    unsigned char raw[8];
    copy(raw, bytes);
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < bytes; ++i) value = value << 8 | raw[i];
    return value;
  }
  void copy(void* out, std::uint64_t bytes) {
    require(bytes <= size_ - position_, "it ends inside the header");
    if (position_ < block_begin_ || position_ + bytes > block_begin_ + block_.size()) {
      block_begin_ = position_;
      block_.resize(
          std::min<std::uint64_t>(std::max<std::uint64_t>(kBlockBytes, bytes), size_ - position_));
      file_.pread_all(block_.data(), block_.size(), block_begin_);
    }
    std::memcpy(out, block_.data() + (position_ - block_begin_), bytes);
    position_ += bytes;
  }

  const core::File& file_;
  std::uint64_t size_;
  std::uint64_t position_ = 0;
  std::uint64_t block_begin_ = 0;
  std::vector<std::byte> block_;
};

struct ClassicVariable {
  std::string name;
  std::vector<std::uint64_t> dimensions;
  std::uint32_t type = 0;
  std::uint64_t begin = 0;
  bool is_record = false;
  /// Bytes of the whole variable, or of one record of it.
  std::uint64_t size_bytes = 0;
};

struct ClassicHeader {
  std::uint64_t records = 0;
  std::vector<std::uint64_t> lengths;
  std::vector<ClassicVariable> variables;
};

ClassicVariable read_variable(HeaderReader& reader, const std::vector<std::uint64_t>& lengths) {
  ClassicVariable entry;
  entry.name = reader.name();
  const std::uint64_t rank = reader.length();
  reader.require(rank <= 1024, "a variable has more than 1024 dimensions");
  std::uint64_t elements = 1;
  for (std::uint64_t axis = 0; axis < rank; ++axis) {
    const std::uint64_t id = reader.length();
    reader.require(id < lengths.size(), "a variable names an unknown dimension");
    entry.dimensions.push_back(id);
    if (axis == 0 && lengths[id] == 0) {
      entry.is_record = true;
    } else {
      reader.require(!__builtin_mul_overflow(elements, lengths[id], &elements),
                     "a variable is too large");
    }
  }
  reader.skip_attributes();
  entry.type = reader.word();
  reader.length();  // vsize, which large variables overflow: computed instead
  entry.begin = reader.offset();
  const std::uint64_t width = type_size(entry.type);
  reader.require(width > 0 && !__builtin_mul_overflow(elements, width, &entry.size_bytes) &&
                     entry.size_bytes <= static_cast<std::uint64_t>(INT64_MAX) - 4,
                 "a variable is malformed");
  return entry;
}

/// Reads what follows the magic number.
ClassicHeader read_header(HeaderReader& reader) {
  ClassicHeader header;
  header.records = reader.length();
  for (std::uint64_t i = reader.list(kDimensionTag); i > 0; --i) {
    reader.name();
    header.lengths.push_back(reader.length());
  }
  reader.skip_attributes();
  for (std::uint64_t i = reader.list(kVariableTag); i > 0; --i) {
    header.variables.push_back(read_variable(reader, header.lengths));
  }
  return header;
}

/// A record holds each record variable padded to 4 bytes, unless there is only one.
std::uint64_t record_bytes(const std::vector<ClassicVariable>& variables) {
  const auto count = std::count_if(variables.begin(), variables.end(),
                                   [](const ClassicVariable& v) { return v.is_record; });
  std::uint64_t bytes = 0;
  for (const ClassicVariable& entry : variables) {
    if (entry.is_record) bytes += count == 1 ? entry.size_bytes : (entry.size_bytes + 3) / 4 * 4;
  }
  return bytes;
}

}  // namespace

std::optional<VariableLayout> classic_layout(const core::File& file, const std::string& variable) {
  const std::uint64_t size_bytes = file.size();
  unsigned char magic[4];
  if (file.pread_up_to(magic, 4, 0) < 4 || std::memcmp(magic, "CDF", 3) != 0) return std::nullopt;
  if (magic[3] != 1 && magic[3] != 2 && magic[3] != 5) return std::nullopt;
  HeaderReader reader(file, size_bytes);
  reader.wide_counts = magic[3] == 5;
  reader.wide_offsets = magic[3] != 1;
  reader.skip(4);
  const ClassicHeader header = read_header(reader);
  const auto entry = std::find_if(header.variables.begin(), header.variables.end(),
                                  [&](const ClassicVariable& v) { return v.name == variable; });
  if (entry == header.variables.end()) return std::nullopt;
  const auto dtype = type_dtype(entry->type);
  // A writer that streams leaves the number of records open.
  const bool streaming = header.records == (reader.wide_counts ? UINT64_MAX : UINT32_MAX);
  if (!dtype || streaming || entry->dimensions.size() > kMaxRank) return std::nullopt;

  VariableLayout layout;
  layout.kind = VariableLayout::Kind::kFlat;
  layout.dtype = *dtype;
  layout.swapped = std::endian::native == std::endian::little && itemsize(*dtype) > 1;
  layout.name = variable;
  for (const std::uint64_t id : entry->dimensions) {
    layout.shape.push_back(static_cast<std::int64_t>(header.lengths[id]));
  }
  layout.data_offset = entry->begin;
  std::uint64_t end = entry->size_bytes;
  if (entry->is_record) {
    layout.shape[0] = static_cast<std::int64_t>(header.records);
    layout.record_stride = record_bytes(header.variables);
    reader.require(header.records == 0 ||
                       !__builtin_mul_overflow(header.records - 1, layout.record_stride, &end),
                   "it holds too many records");
    end = header.records == 0 ? 0 : end + entry->size_bytes;
  }
  layout.stored = layout.shape;
  reader.require(end <= size_bytes && entry->begin <= size_bytes - end, "its data are cut off");
  return layout;
}

}  // namespace tessera::io
