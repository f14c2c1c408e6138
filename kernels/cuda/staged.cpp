#include "kernels/cuda/staged.hpp"

#include <cstring>
#include <new>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/text.hpp"
#include "kernels/specs.hpp"
#include "tessera/chunk_grid.hpp"
#include "tessera/error.hpp"

namespace tessera::kernels::cuda {

namespace {

constexpr std::size_t kAlignment = 256;

std::size_t aligned(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// Which output a chain hands on, as the lowering has it.
std::size_t chain_output_of(const TaskSpec& spec) {
  return dynamic_cast<const ScanSpec*>(&spec) != nullptr ? 1 : 0;
}

/// One block in device memory and where its twin begins in host memory.
struct Twin {
  std::byte* device;
  std::size_t offset;
  std::size_t bytes;
};

class StagedTask : public TaskKernel {
 public:
  StagedTask(const Registry& host, const TaskSpec& spec)
      : kernel_(host.prepare(spec)),
        scratch_bytes_(host.scratch_bytes(spec)),
        chain_output_(chain_output_of(spec)) {}

  bool occupies_thread() const noexcept override { return true; }

  void run(const TaskArgs& args) const override {
    std::size_t total = 0;
    const std::vector<Twin> inputs = place_inputs(args, total);
    const std::vector<Twin> outputs = place_outputs(args, total);
    const StagingMemory memory(*args.queue, total);
    const PlainMemory scratch = plain_memory(scratch_bytes_);
    if (scratch_bytes_ > 0 && scratch == nullptr) throw_no_scratch();

    for (const Twin& twin : inputs)
      args.queue->copy(memory.data() + twin.offset, twin.device, twin.bytes);
    if (args.chained) {
      const Twin& twin = outputs[chain_output_];
      args.queue->copy(memory.data() + twin.offset, twin.device, twin.bytes);
    }
    args.queue->wait();

    std::vector<Piece> pieces;
    for (std::size_t i = 0; i < inputs.size(); ++i)
      pieces.push_back({args.pieces[i].block, memory.data() + inputs[i].offset});
    std::vector<std::byte*> results;
    for (const Twin& twin : outputs) results.push_back(memory.data() + twin.offset);
    TaskArgs host = args;
    host.pieces = pieces;
    host.outputs = results;
    host.scratch = scratch.get();
    host.queue = nullptr;
    kernel_->run(host);

    for (const Twin& twin : outputs)
      args.queue->copy(twin.device, memory.data() + twin.offset, twin.bytes);
    args.queue->wait();
  }

 private:
  [[noreturn]] void throw_no_scratch() const {
    throw OutOfMemory(
        core::text("[memory] the machine must have the memory that a kernel on its cores works in; "
                   "got a request of ",
                   format_bytes(scratch_bytes_), " that it refused; try smaller chunks"),
        scratch_bytes_, 0, 0);
  }

  // A block that several inputs name is copied once: later ones have no bytes of their own.
  static std::vector<Twin> place_inputs(const TaskArgs& args, std::size_t& total) {
    std::vector<Twin> twins;
    std::unordered_map<const std::byte*, std::size_t> seen;
    for (std::size_t k = 0; k + 1 < args.piece_offsets.size(); ++k) {
      for (const Piece& piece : args.input(k)) {
        const std::size_t bytes = args.input_sizes[k]->bytes(piece.block);
        const auto [entry, fresh] = seen.try_emplace(piece.data, total);
        // Reading only: the twin's device side is a copy's source.
        twins.push_back({const_cast<std::byte*>(piece.data), entry->second, fresh ? bytes : 0});
        if (fresh) total += aligned(bytes);
      }
    }
    return twins;
  }

  static std::vector<Twin> place_outputs(const TaskArgs& args, std::size_t& total) {
    std::vector<Twin> twins;
    for (std::size_t o = 0; o < args.outputs.size(); ++o) {
      const std::size_t bytes = args.output_sizes[o]->bytes(args.block);
      twins.push_back({args.outputs[o], total, bytes});
      total += aligned(bytes);
    }
    return twins;
  }

  std::unique_ptr<TaskKernel> kernel_;
  std::size_t scratch_bytes_;
  std::size_t chain_output_;
};

}  // namespace

void FreePlainMemory::operator()(std::byte* data) const noexcept {
  ::operator delete (data, std::align_val_t{kAlignment});
}

PlainMemory plain_memory(std::size_t size_bytes) noexcept {
  if (size_bytes == 0) return nullptr;
  return PlainMemory(static_cast<std::byte*>(
      ::operator new (size_bytes, std::align_val_t{kAlignment}, std::nothrow)));
}

StagingMemory::StagingMemory(device::Queue& queue, std::size_t size_bytes) : queue_(queue) {
  if (size_bytes == 0) return;
  try {
    pinned_ = queue.staging().allocate(size_bytes);
    data_ = pinned_.data();
  } catch (const OutOfMemory&) {
    plain_ = plain_memory(size_bytes);
    if (plain_ == nullptr) throw;
    data_ = plain_.get();
  }
}

StagingMemory::~StagingMemory() {
  // After an error copies may still be on their way.
  try {
    queue_.wait();
  } catch (...) {
  }
}

void send_bytes(device::Queue& queue, std::byte* to, std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  device::Buffer pinned;
  try {
    pinned = queue.staging().allocate(bytes.size());
  } catch (const OutOfMemory&) {
    queue.copy(to, bytes.data(), bytes.size());
    queue.wait();
    return;
  }
  std::memcpy(pinned.data(), bytes.data(), bytes.size());
  queue.copy(to, pinned.data(), bytes.size());
  queue.keep(std::move(pinned));
}

std::unique_ptr<TaskKernel> make_staged(const Registry& host, const TaskSpec& spec) {
  return std::make_unique<StagedTask>(host, spec);
}

}  // namespace tessera::kernels::cuda
