#pragma once

#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <thread>

// What a run has measured so far, kept in a file against crashes and hangs.

namespace tessera::benchmarks::gpu {

using Json = nlohmann::ordered_json;

/// Exit status of a program whose row took too long.
inline constexpr int kRowTookTooLong = 75;

/// A JSON object that grows row by row, and the file that is replaced with every row.
class Record {
 public:
  /// An empty path: no file. With `resume` what the file holds is taken up; the row that was in
  /// progress counts as failed. A row that takes longer than `row_limit_s` ends the program.
  Record(std::string path, bool resume, double row_limit_s);
  ~Record();
  Record(const Record&) = delete;
  Record& operator=(const Record&) = delete;

  Json& document() noexcept { return document_; }
  bool has(const std::string& key) const { return done_.contains(key); }
  /// Whether a row of the file that was taken up failed.
  bool failed_before() const noexcept { return failed_before_; }

  /// Says what is in progress.
  void begin(const std::string& key);
  /// That nothing is.
  void end();
  void add(const std::string& key, Json row);
  void write() const;

 private:
  void load();
  void watch(std::stop_token stop);
  std::string path_;
  double row_limit_s_;
  Json document_ = Json::object();
  std::set<std::string> done_;
  bool failed_before_ = false;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::string running_;     // empty: nothing
  std::uint64_t turn_ = 0;  // counts what was begun
  std::jthread watcher_;    // last: it uses all of these
};

}  // namespace tessera::benchmarks::gpu
