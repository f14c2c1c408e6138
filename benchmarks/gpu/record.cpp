#include "benchmarks/gpu/record.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <utility>

namespace tessera::benchmarks::gpu {

Record::Record(std::string path, bool resume, double row_limit_s)
    : path_(std::move(path)), row_limit_s_(row_limit_s) {
  if (resume && !path_.empty()) load();
  watcher_ = std::jthread([this](std::stop_token stop) { watch(std::move(stop)); });
}

Record::~Record() = default;

void Record::begin(const std::string& key) {
  document_["running"] = key;
  write();
  const std::lock_guard lock(mutex_);
  running_ = key;
  ++turn_;
  changed_.notify_all();
}

void Record::end() {
  {
    const std::lock_guard lock(mutex_);
    running_.clear();
    ++turn_;
    changed_.notify_all();
  }
  document_["running"] = nullptr;
  write();
}

void Record::add(const std::string& key, Json row) {
  row["key"] = key;
  done_.insert(key);
  document_["rows"].push_back(std::move(row));
  end();
}

void Record::write() const {
  if (path_.empty()) return;
  const std::string next = path_ + ".next";
  std::ofstream(next) << document_.dump(1) << '\n';
  if (std::rename(next.c_str(), path_.c_str()) != 0)
    std::fprintf(stderr, "bench_gpu_rows: %s cannot be written\n", path_.c_str());
}

void Record::load() {
  std::ifstream in(path_);
  if (!in) return;
  document_ = Json::parse(in, nullptr, false);
  if (document_.is_discarded()) document_ = Json::object();
  for (const Json& row : document_.value("rows", Json::array())) {
    done_.insert(row.at("key"));
    failed_before_ = failed_before_ || row.contains("error") || !row.value("checked", true);
  }
  const Json running = document_.value("running", Json());
  if (!running.is_string()) return;
  failed_before_ = true;
  add(running.get<std::string>(), {{"error", "the program ended while this ran"}});
}

// A device that hangs cannot be waited for, nor a thread that waits for it be ended.
void Record::watch(std::stop_token stop) {
  const auto limit = std::chrono::duration<double>(row_limit_s_);
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    const std::uint64_t turn = turn_;
    const auto moved_on = [&] { return turn_ != turn; };
    if (running_.empty()) {
      changed_.wait(lock, stop, moved_on);
    } else if (!changed_.wait_for(lock, stop, limit, moved_on) && !stop.stop_requested()) {
      std::fprintf(stderr, "bench_gpu_rows: %s took more than %g s\n", running_.c_str(),
                   row_limit_s_);
      std::_Exit(kRowTookTooLong);
    }
  }
}

}  // namespace tessera::benchmarks::gpu
