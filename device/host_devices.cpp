#include "device/host_devices.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/text.hpp"
#include "device/cuda/cuda_system.hpp"
#include "device/host/host_pool.hpp"
#include "device/host/host_stream.hpp"
#include "device/host/spill_store.hpp"
#include "tessera/error.hpp"

namespace tessera::device {
namespace {

int worker_count(int asked) {
  if (asked > 0) return asked;
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

static_assert(static_cast<int>(core::ProductPrecision::kTf32) == TESSERA_CUDA_TF32);
static_assert(static_cast<int>(core::ProductPrecision::kBf16x9) == TESSERA_CUDA_BF16X9);
static_assert(static_cast<int>(core::ProductPrecision::kFixedPoint) == TESSERA_CUDA_FIXED_POINT);
TesseraCudaPrecision cuda_precision(core::ProductPrecision precision) {
  return static_cast<TesseraCudaPrecision>(precision);
}

}  // namespace

std::string default_spill_folder() {
  const char* folder = std::getenv("TMPDIR");
  return folder != nullptr && *folder != '\0' ? folder : "/var/tmp";
}

HostDevices::HostDevices(const HostDevicesOptions& options) {
  HostAllocator* allocator =
      options.allocator != nullptr ? options.allocator : &system_allocator();
  if (options.cuda_devices.empty()) {
    make_host_pools(options, *allocator);
  } else {
    make_cuda_pools(options);
    allocator = &cuda_->pinned();
  }
  lent_ = std::vector<std::atomic<std::size_t>>(devices_.size());
  host_tier_ = std::make_unique<HostPool>("the host tier", "TESSERA_HOST_MEMORY",
                                          options.host_budget_bytes, *allocator, options.fill_freed);
  const auto messages = [&](const char* name) {
    return std::make_unique<HostPool>(name, "TESSERA_MESSAGE_MEMORY",
                                      options.message_budget_bytes / 2, *allocator,
                                      options.fill_freed);
  };
  outgoing_ = messages("the memory for blocks to other ranks");
  incoming_ = messages("the memory for blocks from other ranks");
  const core::FileSystem& files =
      options.file_system != nullptr ? *options.file_system : core::posix_file_system();
  disk_tier_ = std::make_unique<SpillStore>(
      files, options.spill_folder.empty() ? default_spill_folder() : options.spill_folder,
      options.disk_budget_bytes);
  for (int i = 0; i < SpillStore::kStreams; ++i)
    disk_streams_.push_back(std::make_unique<HostStream>());
  helpers_ = std::make_unique<WorkerPool>(worker_count(options.workers) - 1);
}

HostDevices::~HostDevices() = default;

void HostDevices::make_host_pools(const HostDevicesOptions& options, HostAllocator& allocator) {
  if (options.count < 1) {
    throw InvalidArgument(core::text("[session] at least one host device is needed; got ",
                                     options.count, "; try host or host:4"));
  }
  for (int i = 0; i < options.count; ++i) {
    const DeviceId id{DeviceKind::kHost, i};
    pools_.push_back(std::make_unique<HostPool>(to_string(id), "TESSERA_DEVICE_MEMORY",
                                                options.device_budget_bytes, allocator,
                                                options.fill_freed));
    devices_.push_back({id, pools_.back().get()});
  }
}

void HostDevices::make_cuda_pools(const HostDevicesOptions& options) {
  cuda::CudaSystemOptions cuda;
  cuda.devices = options.cuda_devices;
  cuda.device_budget_bytes = options.device_budget_bytes;
  cuda.sharers = options.cuda_sharers;
  cuda.staging_budget_bytes = options.staging_budget_bytes;
  cuda.precision = cuda_precision(options.precision);
  cuda_ = std::make_unique<cuda::CudaSystem>(*options.cuda, cuda);
  devices_ = cuda_->devices();
}

std::string HostDevices::model(std::size_t device) const {
  if (cuda_ == nullptr) return {};
  return core::text(cuda_->info(device).name, ", ", cuda_->architecture(device), ", ",
                    cuda_->info(device).multiprocessors, " multiprocessors");
}

std::string HostDevices::profile() const {
  if (cuda_ == nullptr) return "host devices";
  const auto precision = static_cast<std::size_t>(cuda_->precision());
  return core::text(cuda_->architecture(0), " with ", cuda_->api().compiler(),
                    precision != TESSERA_CUDA_FULL ? ", products in " : "",
                    precision != TESSERA_CUDA_FULL ? core::kProductPrecisions[precision] : "");
}

void HostDevices::with_queue(std::size_t device, const std::function<void(Queue*)>& work) const {
  if (cuda_ == nullptr) return work(nullptr);
  cuda::BorrowedQueue queue(*cuda_, device);
  work(&*queue);
  queue->wait();
}

std::optional<std::size_t> HostDevices::device_of(const Buffer& buffer) const noexcept {
  for (std::size_t d = 0; d < devices_.size(); ++d) {
    if (devices_[d].pool == buffer.pool()) return d;
  }
  return std::nullopt;
}

void HostDevices::copy_to_host(const Buffer& from, std::byte* out) const {
  if (from.size_bytes() == 0) return;
  const std::optional<std::size_t> device = device_of(from);
  if (cuda_ == nullptr || !device) {
    std::memcpy(out, from.data(), from.size_bytes());
  } else {
    cuda::BorrowedQueue queue(*cuda_, *device);
    queue->copy(out, from.data(), from.size_bytes());
    queue->wait();
  }
}

const TesseraCudaApi* find_cuda(std::string& problem) {
  return cuda::CudaSystem::find_api(problem);
}

int cuda_device_count(const TesseraCudaApi& api) {
  int count = 0;
  cuda::check(api, TESSERA_CUDA_RUNTIME, api.device_count(&count), "device_count");
  return count;
}

std::string cuda_addresses(const TesseraCudaApi& api, const std::vector<int>& devices) {
  std::string out;
  for (const int device : devices) {
    char text[32] = {};
    const bool there = api.device_address(device, text, sizeof text) == TESSERA_CUDA_OK;
    out += core::text(out.empty() ? "" : " ", there ? text : "?");
  }
  return out;
}

std::size_t cuda_memory_bytes(const TesseraCudaApi& api, const std::vector<int>& devices) {
  std::size_t least = std::numeric_limits<std::size_t>::max();
  for (const int device : devices) {
    std::size_t bytes = 0;
    if (api.device_memory(device, &bytes) != TESSERA_CUDA_OK) return 0;
    least = std::min(least, bytes);
  }
  return devices.empty() ? 0 : least;
}

std::optional<int> cuda_memory_device(const TesseraCudaApi& api, const void* data) {
  int device = -1;
  cuda::check(api, TESSERA_CUDA_RUNTIME, api.memory_device(data, &device), "memory_device");
  return device >= 0 ? std::optional(device) : std::nullopt;
}

std::shared_ptr<void> cuda_event_behind(const TesseraCudaApi& api, int device, void* stream) {
  void* event = nullptr;
  cuda::check(api, TESSERA_CUDA_RUNTIME, api.event_behind(device, stream, &event), "event_behind");
  return {event, [&api](void* made) { api.event_destroy(made); }};
}

std::shared_ptr<void> HostDevices::lend(std::shared_ptr<const HostDevices> self, std::size_t device,
                                        Buffer block) {
  struct Lent {
    std::shared_ptr<const HostDevices> devices;
    std::size_t device;
    Buffer block;
    // What the owner has left on its streams ends first, as where cudaFree() takes memory back.
    // Runs may count on the room once it is there.
    ~Lent() {
      if (devices->cuda_ != nullptr)
        devices->cuda_->api().synchronize_device(devices->devices_[device].id.number);
      const std::size_t bytes = block.size_bytes();
      block = Buffer();
      devices->lent_[device] -= bytes;
    }
  };
  const std::size_t bytes = block.size_bytes();
  auto lent = std::make_shared<Lent>(std::move(self), device, std::move(block));
  lent->devices->lent_[device] += bytes;
  void* data = lent->block.data();
  return {std::move(lent), data};
}

void HostDevices::trim() {
  for (const Device& device : devices_) device.pool->trim(0);
  for (MemoryPool* pool : {host_tier_.get(), outgoing_.get(), incoming_.get()}) pool->trim(0);
  if (cuda_ != nullptr) cuda_->staging().trim(0);
}

std::size_t HostDevices::bytes_in_use() const {
  std::size_t total = host_tier_->bytes_in_use() + disk_tier_->bytes_in_use() +
                      outgoing_->bytes_in_use() + incoming_->bytes_in_use();
  for (const Device& device : devices_) total += device.pool->bytes_in_use();
  if (cuda_ != nullptr) total += cuda_->staging().bytes_in_use();
  return total;
}

}  // namespace tessera::device
