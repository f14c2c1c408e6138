#include "core/trace.hpp"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/text.hpp"

namespace tessera::core {
namespace {

constexpr std::size_t kFlushBytes = std::size_t{1} << 20;

std::string json_text(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

const char* name_of(Trace::Category category) {
  switch (category) {
    case Trace::Category::kTask:
      return "task";
    case Trace::Category::kCopy:
      return "copy";
    case Trace::Category::kSpill:
      break;
  }
  return "spill";
}

std::string microseconds(Clock::duration duration) {
  char text[32];
  const double us = std::chrono::duration<double, std::micro>(duration).count();
  std::snprintf(text, sizeof text, "%.3f", us);
  return text;
}

}  // namespace

Trace::Trace(std::string path, const FileSystem& files, const Clock& clock)
    : start_(clock.now()), file_(files, std::move(path), "TESSERA_TRACE") {
  std::string text = "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n";
  write(text);
}

Trace::~Trace() {
  try {
    close();
  } catch (const std::exception&) {
    // The trace is lost, the results it describes are not.
  }
}

void Trace::name_device(int device, std::string_view name) {
  const std::lock_guard lock(mutex_);
  devices_[device] = name;
}

void Trace::name_thread(int thread, std::string_view name) {
  const std::lock_guard lock(mutex_);
  threads_[thread] = name;
}

void Trace::add(Span span) {
  const std::lock_guard lock(mutex_);
  if (!open_ || error_) return;
  held_.push_back(std::move(span));
  ++size_;
  if (held_.size() < kMaxHeld) return;
  try {
    write_held();
  } catch (...) {
    error_ = std::current_exception();
  }
}

std::size_t Trace::size() const {
  const std::lock_guard lock(mutex_);
  return size_;
}

void Trace::write_names(std::string& text) const {
  auto row = [&](const char* what, int device, int thread, const std::string& name) {
    text += "{\"ph\":\"M\",\"name\":\"";
    text += what;
    text += "\",\"pid\":" + std::to_string(device) + ",\"tid\":" + std::to_string(thread) +
            ",\"args\":{\"name\":" + json_text(name) + "}},\n";
  };
  for (const auto& [device, name] : devices_) row("process_name", device, 0, name);
  for (const auto& [device, thread] : rows_) {
    const auto name = threads_.find(thread);
    if (name != threads_.end()) row("thread_name", device, thread, name->second);
  }
}

void Trace::write_span(std::string& text, const Span& span) const {
  text += "{\"ph\":\"X\",\"name\":" + json_text(span.name) + ",\"cat\":\"" +
          name_of(span.category) + "\",\"ts\":" + microseconds(elapsed(start_, span.begin)) +
          ",\"dur\":" + microseconds(elapsed(span.begin, span.end)) +
          ",\"pid\":" + std::to_string(span.device) + ",\"tid\":" + std::to_string(span.thread) +
          ",\"args\":{\"block\":" + json_text(span.detail);
  if (span.size_bytes > 0) text += ",\"bytes\":" + std::to_string(span.size_bytes);
  text += "}},\n";
}

void Trace::write_held() {
  const std::vector<Span> spans = std::exchange(held_, {});
  std::string text;
  for (const Span& span : spans) {
    rows_.emplace(span.device, span.thread);
    write_span(text, span);
    if (text.size() >= kFlushBytes) write(text);
  }
  write(text);
}

void Trace::write(std::string& text) {
  file_.file().pwrite_all(text.data(), text.size(), written_bytes_);
  written_bytes_ += text.size();
  text.clear();
}

void Trace::close() {
  const std::lock_guard lock(mutex_);
  if (!std::exchange(open_, false)) return;
  if (error_) std::rethrow_exception(error_);
  write_held();
  std::string text;
  write_names(text);
  // The list may not end with a comma.
  text += "{\"ph\":\"M\",\"name\":\"trace_end\",\"pid\":0,\"tid\":0}]}\n";
  write(text);
  file_.commit();
}

std::string next_trace_path(const std::string& path) {
  static std::mutex mutex;
  static std::map<std::string, int> uses;
  const std::lock_guard lock(mutex);
  const int use = ++uses[path];
  if (use == 1) return path;
  const std::size_t slash = path.rfind('/');
  const std::size_t name = slash == std::string::npos ? 0 : slash + 1;
  std::size_t dot = path.rfind('.');
  if (dot == std::string::npos || dot <= name) dot = path.size();
  return text(path.substr(0, dot), "-", use, path.substr(dot));
}

}  // namespace tessera::core
