#pragma once

#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <span>
#include <utility>
#include <vector>

#include "device/cuda/cuda_system.hpp"
#include "kernels/registry.hpp"
#include "kernels/specs.hpp"
#include "kernels/task_geometry.hpp"
#include "tests/cuda/simulated_cuda.hpp"
#include "tests/kernels/block_fixture.hpp"

// One task run by the host's kernel and by a CUDA device's, on the same blocks: what the tests of
// block kernels on CUDA devices compare.

namespace tessera::kernels::test {

/// Bytes at a 256-byte boundary, with room up to the next multiple of 64 as blocks have it.
class AlignedBytes {
 public:
  explicit AlignedBytes(std::size_t size = 0, std::byte value = std::byte{0xa5})
      : size_(size),
        data_(static_cast<std::byte*>(::operator new (size + 64, std::align_val_t{256}))) {
    std::memset(data_.get(), std::to_integer<int>(value), size + 64);
  }
  std::byte* data() const { return data_.get(); }
  std::size_t size() const { return size_; }
  bool operator==(const AlignedBytes& other) const {
    return size_ == other.size_ && std::memcmp(data(), other.data(), size_) == 0;
  }

 private:
  struct Free {
    void operator()(std::byte* data) const { ::operator delete (data, std::align_val_t{256}); }
  };
  std::size_t size_;
  std::unique_ptr<std::byte, Free> data_;
};

/// The blocks of one array.
struct StoredArray {
  StoredArray(ChunkGrid array_grid, DType array_dtype)
      : grid(std::move(array_grid)), dtype(array_dtype), size(grid, dtype) {
    for (std::int64_t b = 0; b < grid.block_count(); ++b) blocks.emplace_back(size.bytes(b));
  }
  /// Bytes of any value, which no kernel that only copies looks at.
  void fill_bytes(Random& random) {
    for (const AlignedBytes& block : blocks) {
      for (std::size_t i = 0; i < block.size(); ++i)
        block.data()[i] = static_cast<std::byte>(random() & 0xff);
    }
  }
  /// Small whole numbers: their sums and products are exact in any order.
  void fill_small(Random& random) {
    host::visit_dtype(dtype, "test", [&]<typename T>(std::type_identity<T>) {
      for (const AlignedBytes& block : blocks) {
        T* elements = reinterpret_cast<T*>(block.data());
        for (std::size_t i = 0; i < block.size() / sizeof(T); ++i)
          elements[i] = TestBlock::small<T>(random);
      }
    });
  }
  template <typename T>
  void fill_normal(Random& random) {
    for (const AlignedBytes& block : blocks) {
      T* elements = reinterpret_cast<T*>(block.data());
      for (std::size_t i = 0; i < block.size() / sizeof(T); ++i)
        elements[i] = TestBlock::normal<T>(random, 0);
    }
  }
  ChunkGrid grid;
  DType dtype;
  BlockSize size;
  std::vector<AlignedBytes> blocks;
};

/// A random way to cut an axis.
inline AxisChunks random_chunks(Random& random, std::int64_t extent, std::int64_t most) {
  std::vector<std::int64_t> extents;
  while (extent > 0) {
    extents.push_back(std::min(extent, uniform(random, 1, most)));
    extent -= extents.back();
  }
  if (extents.empty()) extents.push_back(0);
  return AxisChunks::of(std::move(extents));
}

struct TaskCase {
  struct Input {
    const StoredArray* array;
    std::vector<std::int64_t> blocks;
  };
  const TaskSpec& spec;
  std::int64_t block = 0;
  BlockIndex coords = {};
  std::vector<Input> inputs = {};
  std::vector<BlockSize> outputs = {};
  bool chained = false;
  std::vector<AlignedBytes> before = {};  ///< what outputs hold, where they are chained
};

class TaskRunner {
 public:
  explicit TaskRunner(const TaskCase& task) : task_(task) {
    offsets_.push_back(0);
    for (const TaskCase::Input& input : task.inputs) {
      for (const std::int64_t block : input.blocks)
        sources_.push_back({block, &input.array->blocks[static_cast<std::size_t>(block)]});
      offsets_.push_back(static_cast<std::uint32_t>(sources_.size()));
      input_sizes_.push_back(&input.array->size);
    }
    for (const BlockSize& size : task.outputs) output_sizes_.push_back(&size);
  }

  std::vector<AlignedBytes> on_host(const Registry& registry = host_registry()) {
    std::vector<AlignedBytes> results = fresh_outputs();
    const AlignedBytes scratch(registry.scratch_bytes(task_.spec));
    std::vector<Piece> pieces;
    for (const Source& source : sources_) pieces.push_back({source.block, source.bytes->data()});
    std::vector<std::byte*> outputs;
    for (const AlignedBytes& result : results) outputs.push_back(result.data());
    registry.prepare(task_.spec)->run(arguments(pieces, outputs, scratch.data(), nullptr));
    return results;
  }

  std::vector<AlignedBytes> on_device(device::cuda::CudaSystem& system, const Registry& registry) {
    std::vector<AlignedBytes> results = fresh_outputs();
    std::vector<device::Buffer> buffers;
    const device::cuda::BorrowedQueue queue(system, 0);
    const auto upload = [&](const AlignedBytes& bytes) {
      buffers.push_back(queue->memory().allocate(bytes.size()));
      queue->copy(buffers.back().data(), bytes.data(), bytes.size());
      return buffers.back().data();
    };
    std::vector<Piece> pieces;
    std::map<const AlignedBytes*, std::byte*> uploaded;
    for (const Source& source : sources_) {
      std::byte*& there = uploaded[source.bytes];
      if (there == nullptr) there = upload(*source.bytes);
      pieces.push_back({source.block, there});
    }
    std::vector<std::byte*> outputs;
    for (const AlignedBytes& result : results) outputs.push_back(upload(result));
    const AlignedBytes noise(registry.scratch_bytes(task_.spec), std::byte{0xcd});
    std::byte* scratch = upload(noise);
    queue->wait();
    registry.prepare(task_.spec)->run(arguments(pieces, outputs, scratch, &*queue));
    for (std::size_t o = 0; o < results.size(); ++o)
      queue->copy(results[o].data(), outputs[o], results[o].size());
    queue->wait();
    return results;
  }

 private:
  struct Source {
    std::int64_t block;
    const AlignedBytes* bytes;
  };

  std::vector<AlignedBytes> fresh_outputs() const {
    std::vector<AlignedBytes> out;
    for (std::size_t o = 0; o < task_.outputs.size(); ++o) {
      out.emplace_back(task_.outputs[o].bytes(task_.block));
      if (task_.chained) std::memcpy(out.back().data(), task_.before[o].data(), out.back().size());
    }
    return out;
  }

  TaskArgs arguments(const std::vector<Piece>& pieces, const std::vector<std::byte*>& outputs,
                     std::byte* scratch, device::Queue* queue) const {
    TaskArgs args;
    args.block = task_.block;
    args.coords = task_.coords;
    args.pieces = pieces;
    args.piece_offsets = offsets_;
    args.outputs = outputs;
    args.scratch = scratch;
    args.chained = task_.chained;
    args.queue = queue;
    args.input_sizes = input_sizes_;
    args.output_sizes = output_sizes_;
    return args;
  }

  const TaskCase& task_;
  std::vector<Source> sources_;
  std::vector<std::uint32_t> offsets_;
  std::vector<const BlockSize*> input_sizes_;
  std::vector<const BlockSize*> output_sizes_;
};

/// A block operation from one array to another.
template <typename Attributes>
inline BlockSpec block_spec(std::shared_ptr<Attributes> attributes, const StoredArray& in,
                            const ChunkGrid& out, DType out_dtype) {
  BlockSpec spec;
  spec.attributes = std::move(attributes);
  spec.inputs.push_back({in.grid, in.dtype, std::nullopt});
  spec.outputs.push_back({out, out_dtype, std::nullopt});
  return spec;
}

/// One simulated device and the kernels for it.
struct Machine {
  /// `thread_order` is SimulatedCudaOptions'.
  explicit Machine(std::size_t staging_bytes = std::size_t{64} << 20, unsigned thread_order = 0)
      : simulated(options(thread_order)),
        system(simulated.api(), {{0}, std::size_t{256} << 20, staging_bytes}),
        registry(make_cuda_registry(system)) {}
  ~Machine() {
    EXPECT_EQ(system.devices()[0].pool->bytes_in_use(), 0u);
    EXPECT_EQ(system.staging().bytes_in_use(), 0u);
    EXPECT_EQ(simulated.misuse(), "");
  }
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  testing::SimulatedCuda simulated;
  device::cuda::CudaSystem system;
  std::unique_ptr<Registry> registry;

 private:
  static testing::SimulatedCudaOptions options(unsigned thread_order) {
    testing::SimulatedCudaOptions out;
    out.devices = 1;
    out.thread_order = thread_order;
    return out;
  }
};

}  // namespace tessera::kernels::test
