#include "core/trace.hpp"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

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

std::string microseconds(Trace::Clock::duration duration) {
  char text[32];
  const double us = std::chrono::duration<double, std::micro>(duration).count();
  std::snprintf(text, sizeof text, "%.3f", us);
  return text;
}

}  // namespace

Trace::Trace(std::string path, const FileSystem& files)
    : path_(std::move(path)), files_(&files), start_(Clock::now()) {}

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
  if (open_) spans_.push_back(std::move(span));
}

std::size_t Trace::size() const {
  const std::lock_guard lock(mutex_);
  return spans_.size();
}

void Trace::write_names(std::string& text) const {
  std::set<std::pair<int, int>> rows;
  for (const Span& span : spans_) rows.emplace(span.device, span.thread);
  auto row = [&](const char* what, int device, int thread, const std::string& name) {
    text += "{\"ph\":\"M\",\"name\":\"";
    text += what;
    text += "\",\"pid\":" + std::to_string(device) + ",\"tid\":" + std::to_string(thread) +
            ",\"args\":{\"name\":" + json_text(name) + "}},\n";
  };
  for (const auto& [device, name] : devices_) row("process_name", device, 0, name);
  for (const auto& [device, thread] : rows) {
    const auto name = threads_.find(thread);
    if (name != threads_.end()) row("thread_name", device, thread, name->second);
  }
}

void Trace::write_span(std::string& text, const Span& span) const {
  text += "{\"ph\":\"X\",\"name\":" + json_text(span.name) + ",\"cat\":\"" +
          name_of(span.category) + "\",\"ts\":" + microseconds(span.begin - start_) +
          ",\"dur\":" + microseconds(span.end - span.begin) +
          ",\"pid\":" + std::to_string(span.device) + ",\"tid\":" + std::to_string(span.thread) +
          ",\"args\":{\"block\":" + json_text(span.detail);
  if (span.size_bytes > 0) text += ",\"bytes\":" + std::to_string(span.size_bytes);
  text += "}},\n";
}

void Trace::close() {
  const std::lock_guard lock(mutex_);
  if (!std::exchange(open_, false)) return;
  AtomicFile out(*files_, path_, "TESSERA_TRACE");
  std::uint64_t offset = 0;
  std::string text = "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n";
  auto flush = [&] {
    out.file().pwrite_all(text.data(), text.size(), offset);
    offset += text.size();
    text.clear();
  };
  write_names(text);
  for (const Span& span : spans_) {
    write_span(text, span);
    if (text.size() >= kFlushBytes) flush();
  }
  // The list may not end with a comma.
  text += "{\"ph\":\"M\",\"name\":\"trace_end\",\"pid\":0,\"tid\":0}]}\n";
  flush();
  out.commit();
  spans_.clear();
}

}  // namespace tessera::core
