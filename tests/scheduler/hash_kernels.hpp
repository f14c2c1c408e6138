#pragma once

#include <atomic>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <random>
#include <stdexcept>

#include "device/host_devices.hpp"
#include "kernels/registry.hpp"
#include "random_plan.hpp"
#include "scheduler/executor/host_driver.hpp"
#include "tessera/error.hpp"

// Kernels for tests of the executor: every block is a hash of the node, the block's number and the
// whole contents of what the task reads, so that one wrong byte anywhere changes the results.

namespace tessera::scheduler::test {

struct HashSpec final : kernels::TaskSpec {
  const char* kernel() const noexcept override { return "hash"; }
  std::uint64_t salt = 0;
  std::size_t scratch_bytes = 0;
  bool wide = false;
  std::vector<kernels::BlockSize> inputs, outputs;
  int chain_output = 0;
};

inline std::uint64_t mix(std::uint64_t h, std::uint64_t value) {
  h = (h ^ value) * 0x9e3779b97f4a7c15u;
  return h ^ (h >> 32);
}
inline std::uint64_t hash_bytes(std::uint64_t h, const std::byte* data, std::size_t size) {
  for (std::size_t i = 0; i + 8 <= size; i += 8) {
    std::uint64_t word;
    std::memcpy(&word, data + i, 8);
    h = mix(h, word);
  }
  return h;
}
inline void hash_task(const HashSpec& spec, const kernels::TaskArgs& args) {
  std::uint64_t h = mix(spec.salt, static_cast<std::uint64_t>(args.block));
  for (std::size_t k = 0; k < spec.inputs.size(); ++k) {
    for (const kernels::Piece& piece : args.input(k)) {
      h = mix(h, static_cast<std::uint64_t>(piece.block));
      h = hash_bytes(h, piece.data, spec.inputs[k].bytes(piece.block));
    }
  }
  for (std::size_t o = 0; o < spec.outputs.size(); ++o) {
    const std::size_t size = spec.outputs[o].bytes(args.block);
    if (args.chained && static_cast<int>(o) == spec.chain_output)
      h = hash_bytes(h, args.outputs[o], size);
    for (std::size_t i = 0; i + 8 <= size; i += 8) {
      h = mix(h, i);
      std::memcpy(args.outputs[o] + i, &h, 8);
    }
  }
}

/// Makes hash kernels, counts tasks, and calls `before` with each task's number (from 1) first.
class HashRegistry final : public kernels::Registry {
 public:
  std::unique_ptr<kernels::TaskKernel> prepare(const kernels::TaskSpec& spec) const override {
    return std::make_unique<Kernel>(dynamic_cast<const HashSpec&>(spec), *this);
  }
  std::size_t scratch_bytes(const kernels::TaskSpec& spec) const override {
    return dynamic_cast<const HashSpec&>(spec).scratch_bytes;
  }
  std::function<void(std::int64_t number)> before;
  int workers = 1;
  mutable std::atomic<std::int64_t> tasks{0};
  mutable std::atomic<int> running{0};
  mutable std::atomic<int> crowded{0};  ///< wide tasks that were not alone

 private:
  struct Kernel final : kernels::TaskKernel {
    Kernel(const HashSpec& s, const HashRegistry& r) : spec(s), registry(r) {}
    void run(const kernels::TaskArgs& args) const override {
      struct Running {
        explicit Running(std::atomic<int>& count) : count(count) { ++count; }
        ~Running() { --count; }
        std::atomic<int>& count;
      } running(registry.running);
      const std::int64_t number = ++registry.tasks;
      if (registry.before) registry.before(number);
      if (args.workers != (spec.wide ? registry.workers : 1)) throw std::logic_error("workers");
      if (spec.wide && registry.running != 1) ++registry.crowded;
      if (spec.scratch_bytes > 0) std::memset(args.scratch, 0x5A, spec.scratch_bytes);
      hash_task(spec, args);
      if (spec.wide && registry.running != 1) ++registry.crowded;
    }
    const HashSpec& spec;
    const HashRegistry& registry;
  };
};

/// Gives every node of a plan a hash kernel; some with scratch, some wide.
inline void add_hash_kernels(Plan& plan, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  for (std::size_t n = 0; n < plan.nodes.size(); ++n) {
    PlanNode& node = plan.nodes[n];
    auto spec = std::make_shared<HashSpec>();
    spec->salt = seed * 1000 + n;
    if (random() % 4 == 0) spec->scratch_bytes = 1 + random() % 500;
    spec->wide = random() % 8 == 0;
    for (const PlanInput& input : node.inputs)
      spec->inputs.push_back(plan.slots[static_cast<std::size_t>(input.slot)].size);
    for (SlotIndex slot : node.outputs)
      spec->outputs.push_back(plan.slots[static_cast<std::size_t>(slot)].size);
    spec->chain_output = node.chain_output;
    node.scratch_bytes = spec->scratch_bytes;
    node.wide = spec->wide;
    node.spec = std::move(spec);
  }
}

using Contents = std::map<std::pair<SlotIndex, std::int64_t>, std::vector<std::byte>>;

/// Every block of the plan, computed one task after the other without an executor. `known` are the
/// blocks of resident nodes.
inline Contents reference(const Plan& plan, const Contents& known = {}) {
  Contents blocks = known;
  for (std::size_t n = 0; n < plan.nodes.size(); ++n) {
    const PlanNode& node = plan.nodes[n];
    if (node.resident) continue;
    std::int64_t count = 1;
    for (std::int64_t c : node.counts) count *= c;
    for (std::int64_t block = 0; block < count; ++block) {
      std::int64_t coords[kMaxRank];
      const auto index = static_cast<NodeIndex>(n);
      plan.decode(index, block, coords);
      std::vector<kernels::Piece> pieces;
      std::vector<std::uint32_t> offsets;
      for (const PlanInput& input : node.inputs) {
        offsets.push_back(static_cast<std::uint32_t>(pieces.size()));
        plan.for_each_block(input, coords, [&](SlotIndex slot, std::int64_t b) {
          pieces.push_back({b, blocks.at({slot, b}).data()});
        });
      }
      offsets.push_back(static_cast<std::uint32_t>(pieces.size()));
      kernels::TaskArgs args;
      args.block = block;
      args.pieces = pieces;
      args.piece_offsets = offsets;
      args.chained = node.chain_axis >= 0 &&
                     !node.chain_start[static_cast<std::size_t>(coords[node.chain_axis])];
      std::vector<std::byte*> outputs;
      for (std::size_t o = 0; o < node.outputs.size(); ++o) {
        std::vector<std::byte>& out = blocks[{node.outputs[o], block}];
        if (args.chained && static_cast<int>(o) == node.chain_output) {
          coords[node.chain_axis] -= 1;
          out = blocks.at({node.outputs[o], plan.encode(index, coords)});
          coords[node.chain_axis] += 1;
        }
        out.resize(plan.slots[static_cast<std::size_t>(node.outputs[o])].size.bytes(block));
        outputs.push_back(out.data());
      }
      args.outputs = outputs;
      hash_task(dynamic_cast<const HashSpec&>(*node.spec), args);
    }
  }
  return blocks;
}

/// Blocks of a result, read from wherever they are.
inline std::vector<std::byte> bytes_of(const ResidentArray& array, std::int64_t block) {
  std::vector<std::byte> out(array.size().bytes(block));
  array.copy_to(block, out.data());
  return out;
}
/// Whether all blocks of all results are what they must be.
inline bool same(const HostRunResult& result, const Contents& expected) {
  for (const RetainedArray& r : result.arrays) {
    for (std::int64_t b = 0; b < r.array->block_count(); ++b) {
      if (bytes_of(*r.array, b) != expected.at({r.slot, b})) return false;
    }
  }
  return true;
}

/// The smallest device budget that every task of the plan fits.
inline std::size_t smallest_budget(const TaskOrder& order) {
  struct NoDriver final : Driver {
    void start_task(const TaskLaunch&) override {}
    void start_move(const MoveLaunch&) override {}
    void release(BufferId, Place, std::size_t) override {}
  } none;
  DispatcherOptions options;
  options.devices.push_back({1, 1, "host:0"});
  for (;;) {
    try {
      Dispatcher probe(order, options, none);
      return options.devices[0].budget_bytes;
    } catch (const OutOfMemory& e) {
      options.devices[0].budget_bytes = e.requested_bytes;
    }
  }
}

/// A plan with hash kernels, its order and what it must compute.
struct Case {
  explicit Case(std::uint64_t seed, int most_nodes = 12) {
    RandomPlan random(seed);
    plan = random.make(random.pick(2, most_nodes));
    add_hash_kernels(plan, seed);
    order = std::make_unique<TaskOrder>(plan);
    expected = reference(plan);
    need = smallest_budget(*order);
  }
  Plan plan;
  std::unique_ptr<TaskOrder> order;
  Contents expected;
  std::size_t need = 0;
};

struct Machine {
  device::HostDevicesOptions options;
  HashRegistry registry;
  std::shared_ptr<device::HostDevices> devices;
  std::uint64_t shuffle_seed = 0;

  /// `device_bytes` is the budget of each device.
  Machine(int count, int workers, std::size_t device_bytes, std::size_t host_bytes,
          std::size_t disk_bytes, const core::FileSystem* files = nullptr,
          device::HostAllocator* allocator = nullptr) {
    options.count = count;
    options.workers = workers;
    options.device_budget_bytes = device_bytes;
    options.host_budget_bytes = host_bytes;
    options.disk_budget_bytes = disk_bytes;
    options.file_system = files;
    options.allocator = allocator;
    options.fill_freed = true;
    // Files in memory where there are such: thousands of runs would wait for the disk otherwise.
    if (std::filesystem::is_directory("/dev/shm")) options.spill_folder = "/dev/shm";
    registry.workers = workers;
    devices = std::make_shared<device::HostDevices>(options);
  }
  HostRunOptions run_options() const {
    HostRunOptions out;
    out.devices = devices;
    out.registry = &registry;
    out.shuffle_seed = shuffle_seed;
    return out;
  }
};

inline constexpr std::size_t kPlenty = std::size_t{1} << 40;

}  // namespace tessera::scheduler::test
