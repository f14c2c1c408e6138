#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// The TESSERA_* variables: each is read once, parsed strictly, and decided by its value. docs/configuration.md
// has the same table.

namespace tessera::core {

enum class LogLevel : std::uint8_t { kOff, kError, kWarning, kInfo, kDebug };

/// How float32 and float64 products are computed where a device can do so faster.
enum class ProductPrecision : std::uint8_t { kFull, kTf32, kBf16x9, kFixedPoint };
/// Their names, in that order.
inline constexpr const char* kProductPrecisions[] = {"full", "tf32", "bf16x9", "fixed_point"};

struct Environment {
  std::string devices = "host";                   ///< TESSERA_DEVICES
  std::optional<std::size_t> device_memory;       ///< TESSERA_DEVICE_MEMORY, bytes for each device
  std::optional<std::size_t> host_memory;         ///< TESSERA_HOST_MEMORY, bytes of the host tier
  std::optional<std::size_t> disk_memory;         ///< TESSERA_SPILL_LIMIT, bytes of the disk tier
  std::optional<std::size_t> message_memory;      ///< TESSERA_MESSAGE_MEMORY, bytes of blocks between ranks
  std::string spill_dir;                          ///< TESSERA_SPILL_DIR, empty: the system's temporary folder
  std::optional<int> workers;                     ///< TESSERA_WORKERS, threads of all host devices together
  std::optional<int> lapack_threads;              ///< TESSERA_LAPACK_THREADS
  std::optional<std::uint64_t> seed;              ///< TESSERA_SEED, of unseeded random arrays
  std::string trace;                              ///< TESSERA_TRACE, file to write
  LogLevel log = LogLevel::kWarning;              ///< TESSERA_LOG
  bool fuse = true;                               ///< TESSERA_FUSE
  ProductPrecision product_precision = ProductPrecision::kFull;  ///< TESSERA_PRODUCT_PRECISION
  std::uint32_t window = 4096;                    ///< TESSERA_WINDOW, tasks looked ahead
  std::vector<std::string> module_path;           ///< TESSERA_MODULE_PATH, folders of run-time modules
  std::string cache_dir;                          ///< TESSERA_CACHE_DIR, of compiled kernels; empty: the user's cache
  bool mixed_profile = false;                     ///< TESSERA_MIXED_PROFILE, ranks whose bits may differ
};

/// The process's variables, read at the first call.
/// \throws InvalidArgument naming a variable whose value cannot be meant.
const Environment& environment();
/// Parses a set of variables: `get` returns null where one is not set.
Environment parse_environment(const char* (*get)(const char* name));

/// Of one of kProductPrecisions; `name` names who says it. \throws InvalidArgument for another word.
ProductPrecision parse_product_precision(const char* name, std::string_view text);

/// One row of the table of variables.
struct VariableInfo {
  const char* name;
  const char* meaning;
};
const std::vector<VariableInfo>& environment_variables();
/// The names in a null-terminated list of "NAME=value" that look like variables of this library and are none.
/// Those of its tests, TESSERA_TEST_..., are left out.
std::vector<std::string> unknown_variables(const char* const* entries);

/// Whether TESSERA_LOG asks for this level: texts that cost something to make are made then only.
bool logs(LogLevel level);
/// Writes "tessera: <level>: <text>" to standard error when TESSERA_LOG asks for it.
void log(LogLevel level, const std::string& text);

/// Physical memory of this machine that is free now, within the limits of its control group.
std::size_t available_memory_bytes();
/// Cores this process may use, and those that the machine has.
int available_cores();
int machine_cores();

}  // namespace tessera::core
