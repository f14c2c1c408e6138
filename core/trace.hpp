#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/clock.hpp"
#include "core/file_system.hpp"

// What ran where and when, as a file that chrome://tracing and ui.perfetto.dev show: one process
// per device, one row per thread. Events are kept in memory and written when there are many of them
// and when the trace is closed, which gives the file its name; without a trace nobody holds one and
// nothing is recorded.

namespace tessera::core {

class Trace {
 public:
  enum class Category : std::uint8_t { kTask, kCopy, kSpill };

  struct Span {
    Category category = Category::kTask;
    std::string name;    ///< operation names
    std::string detail;  ///< the block, "(0, 3)"
    int device = 0;
    int thread = 0;
    std::size_t size_bytes = 0;  ///< moved, 0 for tasks
    Clock::time_point begin;
    Clock::time_point end;
  };

  /// Spans kept in memory at most.
  static constexpr std::size_t kMaxHeld = std::size_t{1} << 16;

  /// Records until close(); `clock` is asked once, for the time that spans are shown from. `files`
  /// must outlive the trace. \throws IoError naming the path when no file can be written there.
  explicit Trace(std::string path, const FileSystem& files = posix_file_system(),
                 const Clock& clock = machine_clock());
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;
  /// Closes; an error is lost, so whoever can report one calls close().
  ~Trace();

  /// Names shown for a device and for a thread of every device.
  void name_device(int device, std::string_view name);
  void name_thread(int thread, std::string_view name);
  /// Thread safe, as everything here. Once the file cannot be written spans are dropped, and
  /// close() says why.
  void add(Span span);
  /// Spans recorded.
  std::size_t size() const;
  /// Finishes the file; later spans are dropped. \throws IoError naming the path.
  void close();

 private:
  void write_names(std::string& text) const;
  void write_span(std::string& text, const Span& span) const;
  void write_held();
  void write(std::string& text);

  const Clock::time_point start_;
  mutable std::mutex mutex_;
  std::map<int, std::string> devices_, threads_;
  std::set<std::pair<int, int>> rows_;  // device and thread of what was written
  std::vector<Span> held_;
  std::size_t size_ = 0;
  AtomicFile file_;
  std::uint64_t written_bytes_ = 0;
  std::exception_ptr error_;
  bool open_ = true;
};

/// The path for this process's next trace: `path` the first time, then "trace-2.json" for
/// "trace.json" and so on, so that sessions do not write over each other's.
std::string next_trace_path(const std::string& path);

}  // namespace tessera::core
