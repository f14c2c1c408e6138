#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "benchmarks/floors.hpp"
#include "tessera/tessera.hpp"

// A workload of the benchmarks: inputs, what is asked of the engine, and the hand-written loop for
// the same work where there is one. It is written once, against Measure, and says nothing of how it
// is timed: bench_host_rows runs loop and engine in turns in one process, bench_suite runs either
// in a process of its own whenever it is told to.

namespace tessera::benchmarks {

/// How large the workloads are.
struct Sizes {
  std::int64_t edge = 16384;  ///< of the square matrix that the host table's rows read
  bool quick = false;
  /// Memory that the larger workloads are scaled to, and that their sessions take for the
  /// machine's.
  std::int64_t memory_bytes = std::int64_t{1} << 30;
  std::string folder;  ///< existing; for workloads that read and write files

  std::int64_t chunk() const { return edge / 8; }
  /// Elements of the long vectors, and of their chunks: 1e8 and 4 Mi at the edge of 16384.
  std::int64_t count() const { return 390'625 * (edge / 1024) * (edge / 1024); }
  std::int64_t run() const { return edge * edge / 64; }
};

/// What limits a workload on a perfect engine.
enum class Bound : std::uint8_t {
  kMemory,    ///< memory bandwidth
  kProducts,  ///< products of matrices
  kCompute,   ///< other arithmetic, for which no ceiling is measured
  kLatency,   ///< what happens before the first byte
  kFiles,     ///< reading files
  kDisk,      ///< blocks that fit no memory
};

/// What nobody can do without: bytes of arrays read and written, and operations on elements (a
/// function such as exp counts as one).
struct Work {
  std::int64_t bytes = 0;
  std::int64_t operations = 0;
  Bound bound = Bound::kMemory;
};

/// How close two results must lie: |a - b| <= relative * max|b| + absolute.
struct Tolerance {
  double relative = 1e-11;
  double absolute = 0.0;
  /// Compare mean and standard deviation of the elements: for random numbers, which every library
  /// draws in its own way.
  bool moments = false;
};

/// What a workload is written against.
class Measure {
 public:
  using Floor = std::function<void()>;
  using Engine = std::function<std::vector<Array>()>;

  explicit Measure(Sizes sizes) : sizes_(std::move(sizes)) {}
  virtual ~Measure() = default;
  Measure(const Measure&) = delete;
  Measure& operator=(const Measure&) = delete;

  const Sizes& sizes() const noexcept { return sizes_; }
  /// The session that runs the workload; made at the first call, or by open_session().
  Session& session();
  void open_session(const SessionOptions& options);
  /// A session that takes sizes().memory_bytes for all that the machine has.
  void open_scaled_session();

  /// Whether the loop and the engine are to run: inputs of the other need not be made.
  virtual bool wants_floor() const = 0;
  virtual bool wants_engine() const = 0;

  /// Memory for the loop's own use; none when it is not to run.
  floors::Buffer floor_buffer(std::int64_t count) const;
  /// Existing memory as an array whose blocks are in the session.
  Array resident(const floors::Buffer& data, const Shape& shape, const Chunks& chunks);

  /// A fact that other libraries need to make the same inputs.
  void say(std::string_view name, std::int64_t value);
  const std::vector<std::pair<std::string, std::int64_t>>& facts() const noexcept { return facts_; }

  /// Runs the workload, however often. An empty floor: there is none. The arrays that `engine`
  /// gives are computed and kept.
  virtual void measure(const Work& work, const Floor& floor, const Engine& engine) = 0;
  /// Compares result `k` with what the loop found, and says how close others must come.
  virtual void check(const double* expected, std::size_t k = 0, Tolerance tolerance = {}) = 0;
  /// How close other libraries must come, where there is no loop or they may differ from it.
  virtual void agree(std::size_t k, Tolerance tolerance) = 0;

 private:
  Sizes sizes_;
  std::optional<Session> session_;
  std::vector<std::pair<std::string, std::int64_t>> facts_;
};

/// A resident array of numbers spread evenly over [0, 1), the same every time; `plain` is kept
/// where a loop reads it.
struct Input {
  Input(Measure& measure, const Shape& shape, const Chunks& chunks, std::uint64_t seed = 0);
  floors::Buffer plain;
  Array x;
};

/// One workload and how it is known.
struct Workload {
  const char* name;
  const char* expression;  ///< what is computed, as users would write it
  void (*run)(Measure&);
};

/// A group of workloads; each stands in one file, <name>_workloads.cpp.
struct Family {
  const char* name;
  std::span<const Workload> workloads;
};
std::span<const Workload> host_workloads();
std::span<const Workload> talk_workloads();
std::span<const Workload> climate_workloads();
std::span<const Workload> memory_workloads();
std::span<const Workload> file_workloads();
std::span<const Workload> latency_workloads();

/// All of them, in the order in which they are measured.
std::span<const Family> families();

}  // namespace tessera::benchmarks
