#include "io/npy/npy_header.hpp"

#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>

#include "core/text.hpp"
#include "io/numpy_dtype.hpp"
#include "tessera/error.hpp"

namespace tessera::io {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::uint32_t kMaxHeaderBytes = 1024 * 1024;

/// Text from a file, fit for an error message.
std::string printable(std::string_view text) {
  std::string result(text.substr(0, 40));
  for (char& c : result) {
    if (c < ' ' || c > '~') c = '?';
  }
  return result;
}

[[noreturn]] void malformed(const std::string& path, std::string_view field,
                            std::string_view problem) {
  throw IoError(core::text("[npy] field ", printable(field), " of the header must be valid; got ",
                           path, ": ", problem, "; try writing the file again with numpy.save"));
}

/// Reads the Python dict literal of a header: only the literals that NumPy writes there.
class DictReader {
 public:
  DictReader(const std::string& path, std::string_view text) : path_(path), rest_(text) {}

  void read(NpyHeader& header) {
    expect('{', "dict");
    while (!take('}')) {
      const std::string key(quoted("dict"));
      expect(':', key);
      if (key == "descr" && !seen_descr_) {
        read_descr(header);
        seen_descr_ = true;
      } else if (key == "fortran_order" && !seen_order_) {
        header.fortran_order = boolean(key);
        seen_order_ = true;
      } else if (key == "shape" && !seen_shape_) {
        header.shape = tuple(key);
        seen_shape_ = true;
      } else {
        malformed(path_, key, "an unexpected or repeated key");
      }
      if (!take(',')) {
        expect('}', "dict");
        break;
      }
    }
    skip_space();
    if (!rest_.empty()) malformed(path_, "dict", "bytes after its end");
    if (!seen_descr_) malformed(path_, "descr", "it is missing");
    if (!seen_order_) malformed(path_, "fortran_order", "it is missing");
    if (!seen_shape_) malformed(path_, "shape", "it is missing");
  }

 private:
  void skip_space() {
    while (!rest_.empty() && (rest_[0] == ' ' || rest_[0] == '\n' || rest_[0] == '\t'))
      rest_.remove_prefix(1);
  }
  bool take(char c) {
    skip_space();
    if (rest_.empty() || rest_[0] != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void expect(char c, std::string_view field) {
    if (!take(c)) malformed(path_, field, core::text("no '", c, "' where one belongs"));
  }
  bool take_word(std::string_view word) {
    skip_space();
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  std::string_view quoted(std::string_view field) {
    const char quote = take('\'') ? '\'' : '"';
    if (quote == '"') expect('"', field);
    const std::size_t end = rest_.find(quote);
    if (end == std::string_view::npos) malformed(path_, field, "a string without an end");
    const std::string_view value = rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    return value;
  }
  bool boolean(std::string_view field) {
    if (take_word("True")) return true;
    if (take_word("False")) return false;
    malformed(path_, field, "neither True nor False");
  }
  Shape tuple(std::string_view field) {
    expect('(', field);
    Shape shape;
    while (!take(')')) {
      skip_space();
      std::int64_t extent = 0;
      const auto [end, status] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), extent);
      if (status != std::errc() || extent < 0) malformed(path_, field, "an extent that is no size");
      rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
      take('L');  // Python 2 wrote long integers with it
      shape.push_back(extent);
      if (shape.size() > kMaxRank)
        malformed(path_, field, core::text("more than ", kMaxRank, " axes"));
      if (!take(',')) {
        expect(')', field);
        break;
      }
    }
    return shape;
  }
  void read_descr(NpyHeader& header) {
    skip_space();
    if (!rest_.empty() && rest_[0] == '[')
      malformed(path_, "descr", "a structured dtype, which has no array");
    const std::string_view descr = quoted("descr");
    if (const std::optional<NumpyDtype> found = parse_numpy_dtype(descr)) {
      header.dtype = found->dtype;
      header.swapped = found->swapped;
      return;
    }
    malformed(path_, "descr", core::text("dtype '", printable(descr), "', which is not supported"));
  }

  const std::string& path_;
  std::string_view rest_;
  bool seen_descr_ = false;
  bool seen_order_ = false;
  bool seen_shape_ = false;
};

std::uint32_t little_endian(const unsigned char* bytes, int count) {
  std::uint32_t value = 0;
  for (int i = count; i-- > 0;) value = (value << 8) | bytes[i];
  return value;
}

}  // namespace

NpyHeader read_npy_header(const core::File& file, const core::FileStatus& status) {
  const std::string& path = file.path();
  unsigned char prefix[12];
  const std::size_t got = file.pread_up_to(prefix, sizeof prefix, 0);
  if (got < 10 || std::memcmp(prefix, kMagic.data(), kMagic.size()) != 0) {
    malformed(path, "magic", got < 10 ? "fewer than 10 bytes" : "no \\x93NUMPY at the start");
  }
  const int major = prefix[6];
  if (major < 1 || major > 3 || prefix[7] != 0) {
    malformed(path, "version",
              core::text(major, ".", static_cast<int>(prefix[7]), ", not 1.0, 2.0 or 3.0"));
  }
  const int length_bytes = major == 1 ? 2 : 4;
  const std::uint64_t begin = 8 + static_cast<std::uint64_t>(length_bytes);
  if (got < begin) malformed(path, "length", "the file ends inside it");
  const std::uint32_t length = little_endian(prefix + 8, length_bytes);
  if (length > kMaxHeaderBytes || begin + length > status.size_bytes) {
    malformed(path, "length", core::text(length, " bytes in a file of ", status.size_bytes));
  }
  std::string text(length, '\0');
  file.pread_all(text.data(), length, begin);
  NpyHeader header;
  DictReader(path, text).read(header);
  header.data_offset = begin + length;
  std::uint64_t data_bytes = itemsize(header.dtype);
  bool empty = false;
  for (const std::int64_t extent : header.shape) {
    empty = empty || extent == 0;
    if (__builtin_mul_overflow(data_bytes, static_cast<std::uint64_t>(extent ? extent : 1),
                               &data_bytes) ||
        data_bytes > static_cast<std::uint64_t>(INT64_MAX)) {
      malformed(path, "shape",
                core::text(to_string(header.shape), ", more elements than any file holds"));
    }
  }
  const std::uint64_t held = status.size_bytes - header.data_offset;
  if (!empty && data_bytes > held) {
    throw IoError(core::text("[npy] the data must be complete; got ", path, ": ", held, " of ",
                             data_bytes, " bytes for shape ", to_string(header.shape), " of ",
                             header.dtype, "; try writing or copying the file again"));
  }
  return header;
}

std::string npy_header_bytes(const Shape& shape, DType dtype) {
  const std::string descr = numpy_dtype(dtype);
  if (descr.empty()) {
    throw InvalidArgument(
        core::text("[npy] a dtype must exist in NumPy; got ", dtype, "; try astype(float32)"));
  }
  std::string dict =
      "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + to_string(shape) + ", }";
  const bool long_form = dict.size() + 64 > 65535;
  const std::size_t prefix = long_form ? 12 : 10;
  const std::size_t total = (prefix + dict.size() + 1 + 63) / 64 * 64;
  dict.append(total - prefix - dict.size() - 1, ' ');
  dict.push_back('\n');
  std::string bytes(kMagic);
  bytes.push_back(long_form ? '\x02' : '\x01');
  bytes.push_back('\0');
  for (std::size_t i = 0; i < prefix - 8; ++i) {
    bytes.push_back(static_cast<char>((dict.size() >> (8 * i)) & 0xff));
  }
  return bytes + dict;
}

}  // namespace tessera::io
