#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "tessera/array.hpp"

namespace tessera {

/// Where and within which limits computations run. Fields left alone are read from the TESSERA_* variables.
struct SessionOptions {
  /// "host", or "host:4" for four virtual devices; "cuda:0", "cuda:0-3", "cuda:*" for GPUs. Without a usable GPU
  /// a warning says why, and the host computes.
  std::string devices = {};
  std::optional<std::size_t> device_memory_bytes = std::nullopt;  ///< budget of each device; a GPU's default: its free memory, less a margin
  std::optional<std::size_t> host_memory_bytes = std::nullopt;    ///< budget of the host memory that devices spill to
  std::optional<std::size_t> disk_memory_bytes = std::nullopt;    ///< budget of the disk tier; 0: no disk
  /// Host memory of blocks on their way between ranks, where these lie on GPUs or on disk; half for each direction.
  std::optional<std::size_t> message_memory_bytes = std::nullopt;
  std::string spill_dir = {};                        ///< an existing folder that takes files
  int workers = 0;                                   ///< threads of all host devices together; 0: the cores
  std::optional<bool> fuse = std::nullopt;
  /// How GPUs compute products of matrices and tensors: "full", in the elements' own precision, or faster: "tf32"
  /// (float32 and complex64 with 10 bits of mantissa), "bf16x9" (the same from nine products of bfloat16, about as
  /// exact as float32), "fixed_point" (float64 and complex128 from products of whole numbers). What cuBLAS makes of it
  /// is its own matter; a cuBLAS or GPU that has not the way that is asked for is a DeviceError, or computes in full.
  /// Hosts compute in full, and so do qr and svd everywhere.
  std::string product_precision = {};
  /// Executes ready work in a random order drawn from this seed instead of the plan's. For tests: results do
  /// not change.
  std::optional<std::uint64_t> shuffle_seed = std::nullopt;
};

/// What one computation did.
struct RunReport {
  double seconds = 0.0;
  std::int64_t tasks = 0;
  std::int64_t recomputed_tasks = 0;
  std::size_t device_to_device_bytes = 0;
  std::size_t to_host_bytes = 0;    ///< evicted from devices to the host tier
  std::size_t from_host_bytes = 0;
  std::size_t to_disk_bytes = 0;
  std::size_t from_disk_bytes = 0;
  std::size_t dropped_bytes = 0;    ///< evicted by forgetting, to be computed again
  std::size_t fetched_bytes = 0;    ///< from other ranks
  std::size_t sent_bytes = 0;       ///< to other ranks
  std::vector<std::size_t> peak_device_bytes;
  std::size_t peak_host_bytes = 0;
  std::size_t peak_disk_bytes = 0;
  std::size_t peak_state_bytes = 0; ///< of the scheduler's own tables
};

/// How one computation is watched and stopped.
struct RunOptions {
  std::stop_token stop = {};
  /// Called now and then, from the calling thread, with tasks done and tasks in all. It may not call the
  /// session that computes. What it throws ends the computation.
  std::function<void(std::int64_t done, std::int64_t total)> progress = {};
};

/// What modelled devices can do; the defaults are one H200 of an eight-GPU node.
struct SimulationOptions {
  int ranks = 1;    ///< processes that compute together, each on a node of its own
  int devices = 1;  ///< of each rank; so are the budgets of host memory and disk
  std::size_t device_memory_bytes = std::size_t{128} << 30;
  std::size_t host_memory_bytes = std::size_t{1} << 40;
  std::size_t disk_memory_bytes = std::size_t{1} << 50;
  double memory_bytes_per_s = 4.3e12;
  double flops_per_s = 60e12;
  double link_bytes_per_s = 380e9;
  double host_bytes_per_s = 53e9;
  double disk_bytes_per_s = 6e9;
  double task_overhead_s = 3e-6;
  double network_bytes_per_s = 50e9;  ///< of a node, each way; 400 Gb/s
  double network_latency_s = 5e-6;    ///< of a message between nodes
  bool fuse = true;
  /// Every rank gets the whole results, as from compute(); else they stay where they are made, as persist()
  /// leaves them.
  bool deliver = false;
  /// Checks with one bit a task that each ran once and after its inputs; a breach throws std::logic_error.
  bool check = false;
  /// Also finds the longest chain of dependent tasks, for some time more.
  bool critical_path = true;
  /// Also measures what planning takes one rank on this machine: `plan_seconds` and `rank_planning_seconds`.
  bool measure_planning = false;
};

/// What a simulated run would take. Nothing is computed.
struct SimulationReport {
  double seconds = 0.0;                ///< modelled time
  double critical_path_seconds = 0.0;  ///< of the longest chain of dependent tasks
  double busy_seconds = 0.0;           ///< modelled compute time of all devices together
  std::int64_t tasks = 0;
  std::int64_t moves = 0;              ///< of blocks between devices and tiers
  std::size_t device_to_device_bytes = 0;  ///< within nodes
  std::size_t network_bytes = 0;           ///< between nodes
  std::size_t most_sent_bytes = 0;         ///< of that, by the node that sends most
  std::size_t most_fetched_bytes = 0;      ///< of that, by the node that receives most
  std::size_t spilled_bytes = 0;       ///< written to the host and disk tiers
  std::size_t peak_state_bytes = 0;    ///< of one rank's scheduler's own tables
  std::vector<std::size_t> peak_device_bytes;  ///< rank by rank
  std::vector<std::int64_t> rank_tasks;        ///< of each rank
  /// Measured on this machine, not modelled, where asked for: making the plan and its order, which every rank does
  /// once.
  double plan_seconds = 0.0;
  /// Measured likewise: all that one rank's scheduler decides during the run, for the slowest of
  /// the first, the middle and the last rank.
  double rank_planning_seconds = 0.0;
};

/// A block of a result, in the memory of the device that made it: the caller's.
struct DeviceBlock {
  /// Element (0, 0, ...) of dense elements in C order, complete and free to be read and written. It
  /// counts as memory in use of its session's device, and goes back with the last owner, on a GPU
  /// once all work is done that is on it then; the session may go before.
  std::shared_ptr<void> memory;
  bool on_cuda = false;  ///< else host memory
  int device = 0;        ///< CUDA's number, or that of the session's host device
  DType dtype = DType::kFloat64;
  Shape shape;
  Shape index;  ///< coordinates of the block in the array's grid
  Shape start;  ///< position of element (0, 0, ...) in the array
};

namespace detail {
class Call;
}
namespace scheduler {
struct Seams;
class Team;
}

/// Owns devices, memory and workers, and runs computations one after the other. Thread safe: calls from
/// several threads take turns. Arrays that were persisted keep their session's memory alive, and are read by
/// computations of that session only. A session that was moved from throws Error when called.
///
/// In a job of several ranks (docs/cluster.md) every rank makes the same calls in the same order, and compute() gives
/// each of them the whole results; what a session keeps is spread over the ranks, and its figures are this rank's.
/// What fails on one rank fails on all, with a CommError on the others.
class TESSERA_EXPORT Session {
 public:
  /// \throws InvalidArgument for options or variables that cannot be meant; IoError when the named spill folder
  /// takes no files, or TESSERA_TRACE names a place that takes none.
  explicit Session(const SessionOptions& options = {});
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  /// The session that compute(), persist() and item() use in this thread: the innermost SessionScope's, else
  /// one made from the environment at first use.
  static Session& current();

  /// Results of several arrays, computed together: what they have in common is computed once.
  /// \throws Cancelled when stopped; OutOfMemory before anything runs for a task that can never fit;
  /// InvalidArgument for an array that is kept in another session; Error from inside a task or progress callback
  /// of this session.
  std::vector<HostArray> compute(const std::vector<Array>& arrays, const RunOptions& options = {});
  /// The same in the background. The future throws what compute() would, and its destructor waits. The
  /// computation shares what it needs of the session: it goes on when the session is moved or destroyed, and
  /// ends early only through its stop token.
  std::future<std::vector<HostArray>> compute_async(std::vector<Array> arrays, RunOptions options = {});
  /// Computes arrays and keeps their blocks in this session.
  std::vector<Array> persist(const std::vector<Array>& arrays, const RunOptions& options = {});

  /// Computes an array and hands out its blocks where they are made, in C order of the grid; with
  /// several ranks, those that this one made. \throws OutOfMemory where they do not stay in the
  /// devices' memory together; else as compute().
  std::vector<DeviceBlock> compute_blocks(const Array& array, const RunOptions& options = {});

  /// Runs delayed calls that have not run, and what they need; compute() of delayed.hpp calls it.
  void run(const std::vector<std::shared_ptr<detail::Call>>& calls, const RunOptions& options = {});

  /// What the last computation of this session did.
  RunReport last_run() const;
  /// The plan of a computation of these arrays, one line a node.
  std::string explain(const std::vector<Array>& arrays) const;
  /// Bytes of results kept in this session.
  std::size_t resident_bytes() const;
  /// One line for each device and tier: name and budget; and the workers.
  std::string describe() const;

 private:
  struct Impl;
  Session(const SessionOptions& options, const scheduler::Seams& seams);
  Impl& impl() const;
  std::shared_ptr<Impl> impl_;  // shared with computations in the background
  friend struct scheduler::Seams;
  friend class scheduler::Team;
};

/// Makes a session the current one of this thread while it lives.
class TESSERA_EXPORT SessionScope {
 public:
  explicit SessionScope(Session& session);
  ~SessionScope();
  SessionScope(const SessionScope&) = delete;
  SessionScope& operator=(const SessionScope&) = delete;

 private:
  Session* previous_;
};

/// Session::current().compute(), persist() and compute_blocks().
TESSERA_EXPORT std::vector<HostArray> compute(const std::vector<Array>& arrays, const RunOptions& options = {});
TESSERA_EXPORT std::future<std::vector<HostArray>> compute_async(std::vector<Array> arrays, RunOptions options = {});
TESSERA_EXPORT std::vector<Array> persist(const std::vector<Array>& arrays, const RunOptions& options = {});
TESSERA_EXPORT std::vector<DeviceBlock> compute_blocks(const Array& array,
                                                       const RunOptions& options = {});

/// Plans the computation and runs it on modelled devices, with every reservation, transfer, eviction and
/// placement that a real run would do. With several ranks each has the scheduler that its process would have, and
/// blocks move between nodes as real ranks ask for them. Arrays that are kept in a session count as there already:
/// their blocks are cut into one run for each rank, and within a rank dealt to the devices in turn, and to the host
/// and disk tiers when those are full.
/// \throws OutOfMemory when a task or what is kept cannot fit; InvalidArgument for a number of ranks or devices, a
/// budget or a rate that no machine has.
TESSERA_EXPORT SimulationReport simulate(const std::vector<Array>& arrays, const SimulationOptions& options = {});

}  // namespace tessera
