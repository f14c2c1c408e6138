#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "tests/cuda/simulated_cuda.hpp"

// Private to the files of the simulated machine: its state, and the parts of the table that each file fills in.

namespace tessera::testing {

namespace simulated {

struct Event {
  std::uint64_t recorded = 0;  ///< how often it was put on a stream
  std::uint64_t fired = 0;
  struct Stream* stream = nullptr;  ///< on which it was recorded last
};

/// What work returns that cannot be done yet: it is tried again when somebody asks for the stream.
inline constexpr int kBlocked = -1;

/// What a stream does next: some work, or waiting for an event.
struct Step {
  std::function<int()> work;
  Event* event = nullptr;  ///< fires then; or is waited for, where there is no work
  std::uint64_t count = 0;
  bool waits = false;
};

struct Stream {
  int device = 0;
  std::deque<Step> steps;
  bool waiting = false;  ///< its first step is: another stream runs for it
};

/// A function of a built kernel library, and the bytes of each parameter.
struct Kernel {
  std::string name;
  int (*run)(const unsigned* grid, const unsigned* block, const void* const* parameters,
             unsigned order);
  std::vector<std::size_t> parameter_bytes;
};

struct Pool {
  int device = 0;
};

void fill_kernels(TesseraCudaApi& api);
void fill_libraries(TesseraCudaApi& api);
/// Compiles in the calling thread; see TesseraCudaApi::compile.
int build_kernels(const char* source, void** cubin, std::size_t* cubin_bytes, char** log);

}  // namespace simulated

struct SimulatedCuda::Machine {
  explicit Machine(const SimulatedCudaOptions& options);
  ~Machine();

  /// The one there is.
  static Machine& here();

  // Everything below is guarded by the mutex.
  /// Whether this call is the one that is to fail: its status, or 0.
  int begin_call(const char* name);
  void put(void* stream, simulated::Step step);
  simulated::Stream& stream_of(void* handle);
  /// Whose memory it is; -1: the host's.
  int device_of(const void* data) const;
  /// Runs a stream until `until` fires, or to its end, or to what is blocked; other streams as far as that needs, and
  /// by chance.
  int drain(simulated::Stream& stream, const simulated::Event* until, std::uint64_t count);
  int run_step(simulated::Stream& stream);
  void wander();
  int allocate(int device, std::size_t bytes, void** data);
  int release(void* data);
  /// Notes a misuse where the range lies in the devices' memory and is not in use.
  bool may_touch(const void* data, std::size_t bytes, const char* what);
  void note(const std::string& text);

  mutable std::mutex mutex;
  SimulatedCudaOptions options;
  TesseraCudaApi api{};
  std::mt19937_64 random;
  struct Memory {
    std::byte* begin = nullptr;
    std::map<std::byte*, std::size_t> used;
    std::size_t bytes = 0;
  };
  std::vector<Memory> memories;
  std::set<simulated::Stream*> streams;
  std::set<simulated::Event*> events;
  std::vector<std::unique_ptr<simulated::Event>> gone_events;
  std::deque<simulated::Stream> default_streams;  ///< by device
  std::map<std::string, std::int64_t> launches;   ///< by kernel
  std::int64_t call_count = 0;
  std::int64_t fail_at = 0;
  int fail_status = 0;
  bool fail_sticky = false;
  bool broken = false;
  std::string fail_name;
  std::string misuses;
};

}  // namespace tessera::testing
