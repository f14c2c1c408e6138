#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "core/file_system.hpp"

// What ran where and when, as a file that chrome://tracing and ui.perfetto.dev show: one process
// per device, one row per thread. Events are kept in memory and written when the trace is closed;
// without a trace nobody holds one and nothing is recorded.

namespace tessera::core {

class Trace {
 public:
  using Clock = std::chrono::steady_clock;
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

  /// Records until close(). `files` must outlive the trace.
  explicit Trace(std::string path, const FileSystem& files = posix_file_system());
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;
  /// Closes; an error is lost, so whoever can report one calls close().
  ~Trace();

  /// Names shown for a device and for a thread of every device.
  void name_device(int device, std::string_view name);
  void name_thread(int thread, std::string_view name);
  /// Thread safe, as everything here.
  void add(Span span);
  std::size_t size() const;
  /// Writes the file; later spans are dropped. \throws IoError naming the path.
  void close();

 private:
  void write_names(std::string& text) const;
  void write_span(std::string& text, const Span& span) const;

  const std::string path_;
  const FileSystem* files_;
  const Clock::time_point start_;
  mutable std::mutex mutex_;
  std::map<int, std::string> devices_, threads_;
  std::vector<Span> spans_;
  bool open_ = true;
};

}  // namespace tessera::core
