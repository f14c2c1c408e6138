#include "benchmarks/suite/workload.hpp"

namespace tessera::benchmarks {

Session& Measure::session() {
  if (!session_) session_.emplace();
  return *session_;
}

void Measure::open_session(const SessionOptions& options) { session_.emplace(options); }

void Measure::open_scaled_session() {
  const auto memory = static_cast<std::size_t>(sizes_.memory_bytes);
  SessionOptions options;
  options.device_memory_bytes = memory / 100 * 65;
  options.host_memory_bytes = memory / 10;
  open_session(options);
}

floors::Buffer Measure::floor_buffer(std::int64_t count) const {
  return wants_floor() ? floors::make_buffer(count) : floors::Buffer();
}

Array Measure::resident(const floors::Buffer& data, const Shape& shape, const Chunks& chunks) {
  if (!wants_engine()) return zeros(shape, {.chunks = chunks});
  return session().persist({from_memory(data.get(), shape, {.chunks = chunks})})[0];
}

void Measure::say(std::string_view name, std::int64_t value) { facts_.emplace_back(name, value); }

namespace {

floors::Buffer filled(std::int64_t count, std::uint64_t seed) {
  floors::Buffer buffer = floors::make_buffer(count);
  floors::fill(buffer.get(), count, seed);
  return buffer;
}

}  // namespace

Input::Input(Measure& measure, const Shape& shape, const Chunks& chunks, std::uint64_t seed)
    : plain(filled(element_count(shape), seed)), x(measure.resident(plain, shape, chunks)) {
  if (!measure.wants_floor()) plain.reset();
}

std::span<const Family> families() {
  // A new file of workloads gets one line here and one in the folder's CMakeLists.txt.
  static const Family kFamilies[] = {
      {"host", host_workloads()},     {"talks", talk_workloads()},
      {"memory", memory_workloads()}, {"climate", climate_workloads()},
      {"files", file_workloads()},    {"latency", latency_workloads()},
  };
  return kFamilies;
}

}  // namespace tessera::benchmarks
