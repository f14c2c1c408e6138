#include "device/cuda/cuda_system.hpp"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "core/module_loader.hpp"
#include "core/text.hpp"
#include "device/cuda/cuda_pool.hpp"
#include "device/cuda/cuda_stream.hpp"
#include "device/cuda/pinned_allocator.hpp"
#include "device/host/host_pool.hpp"
#include "tessera/chunk_grid.hpp"
#include "tessera/error.hpp"

namespace tessera::device::cuda {

namespace {

const char* library_name(TesseraCudaLibrary library) {
  switch (library) {
    case TESSERA_CUDA_RUNTIME: return "CUDA";
    case TESSERA_CUDA_NVRTC: return "NVRTC";
    case TESSERA_CUDA_BLAS: return "cuBLAS";
    case TESSERA_CUDA_SOLVER: return "cuSOLVER";
  }
  return "CUDA";
}

// What is left of a device's free memory for everything but blocks: library workspaces, kernels, the
// driver's own rounding.
constexpr std::size_t kLeastMargin = std::size_t{512} << 20;
std::size_t default_budget(std::size_t free_bytes) {
  const std::size_t margin = std::max(kLeastMargin, free_bytes / 16);
  return free_bytes > 2 * margin ? free_bytes - margin : free_bytes / 2;
}

// What cuBLAS is recommended on the newest devices; one for each queue that multiplies.
constexpr std::size_t kBlasWorkspace = std::size_t{32} << 20;

}  // namespace

void check(const TesseraCudaApi& api, TesseraCudaLibrary library, int status, const char* call) {
  if (status == TESSERA_CUDA_OK) return;
  throw DeviceError(core::text("[cuda] calls of ", library_name(library), " must succeed; got \"",
                               api.error_text(library, status), "\" (", status, ") from ", call,
                               "; try TESSERA_DEVICES=host"));
}

struct CudaSystem::PerDevice {
  int number = 0;
  TesseraCudaDeviceInfo info{};
  std::unique_ptr<CudaPool> pool;
  std::unique_ptr<CudaStreams> compute;
  std::unique_ptr<CudaStream> copy_in, copy_out;
};

const TesseraCudaApi* CudaSystem::find_api(std::string& problem) {
  using Entry = const TesseraCudaApi* (*)();
  // Work of different streams must not queue behind each other: links between devices (comm/nccl) wait on
  // theirs for other ranks.
  ::setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);
  static const core::LoadedModule module =
      core::load_module("libtessera_cuda.so", TESSERA_CUDA_MODULE_ENTRY);
  if (module.entry == nullptr) {
    problem = module.problem;
    return nullptr;
  }
  const TesseraCudaApi* api = reinterpret_cast<Entry>(module.entry)();
  if (api->version != TESSERA_CUDA_MODULE_VERSION) {
    problem = core::text(module.path, ": is of version ", api->version, ", this library takes ",
                         TESSERA_CUDA_MODULE_VERSION);
    return nullptr;
  }
  if (const char* reason = api->unavailable(); reason != nullptr) {
    problem = reason;
    return nullptr;
  }
  return api;
}

CudaSystem::CudaSystem(const TesseraCudaApi& api, const CudaSystemOptions& options)
    : api_(&api), precision_(options.precision) {
  const KeptDevice before(api);
  int count = 0;
  check(api, TESSERA_CUDA_RUNTIME, api.device_count(&count), "device_count");
  pinned_ = std::make_unique<PinnedAllocator>(api);
  staging_ = std::make_unique<HostPool>("the staging memory", "TESSERA_HOST_MEMORY",
                                        options.staging_budget_bytes, *pinned_, false);
  for (const int number : options.devices) {
    if (number < 0 || number >= count) {
      throw InvalidArgument(core::text("[TESSERA_DEVICES] CUDA devices are cuda:0 to cuda:",
                                       count - 1, "; got cuda:", number, "; try cuda:0"));
    }
    auto device = std::make_unique<PerDevice>();
    device->number = number;
    check(api, TESSERA_CUDA_RUNTIME, api.set_device(number), "set_device");
    check(api, TESSERA_CUDA_RUNTIME, api.device_info(number, &device->info), "device_info");
    const std::size_t budget =
        options.device_budget_bytes > 0
            ? options.device_budget_bytes
            : default_budget(device->info.free_bytes / static_cast<std::size_t>(options.sharers));
    const DeviceId id{DeviceKind::kCuda, number};
    device->pool = std::make_unique<CudaPool>(api, number, to_string(id), budget);
    devices_.push_back({id, device->pool.get()});
    per_device_.push_back(std::move(device));
  }
  for (std::size_t d = 0; d < per_device_.size(); ++d) {
    PerDevice& device = *per_device_[d];
    for (const int peer : options.devices) {
      int direct = 0;
      if (peer != device.number) {
        check(api, TESSERA_CUDA_RUNTIME, api.enable_peer(device.number, peer, &direct),
              "enable_peer");
      }
    }
    device.compute = std::make_unique<CudaStreams>(*this, d);
    device.copy_in = std::make_unique<CudaStream>(*this, d);
    device.copy_out = std::make_unique<CudaStream>(*this, d);
    devices_[d].compute = device.compute.get();
    devices_[d].copy_in = device.copy_in.get();
    devices_[d].copy_out = device.copy_out.get();
  }
}

CudaSystem::~CudaSystem() {
  // Streams use pools to their end, and queues of others' devices are made by none of them.
  for (auto& device : per_device_) {
    device->compute.reset();
    device->copy_in.reset();
    device->copy_out.reset();
  }
  idle_queues_.clear();
}

const TesseraCudaDeviceInfo& CudaSystem::info(std::size_t device) const noexcept {
  return per_device_[device]->info;
}

std::string CudaSystem::architecture(std::size_t device) const {
  const TesseraCudaDeviceInfo& info = per_device_[device]->info;
  return core::text("sm_", info.major, info.minor);
}

HostAllocator& CudaSystem::pinned() const noexcept { return *pinned_; }

void CudaSystem::enter(std::size_t device) const {
  check(*api_, TESSERA_CUDA_RUNTIME, api_->set_device(per_device_[device]->number), "set_device");
}

std::unique_ptr<CudaQueue> CudaSystem::borrow(std::size_t device) {
  {
    const std::lock_guard lock(mutex_);
    const auto idle =
        std::find_if(idle_queues_.begin(), idle_queues_.end(),
                     [&](const std::unique_ptr<CudaQueue>& q) { return q->device() == device; });
    if (idle != idle_queues_.end()) {
      std::unique_ptr<CudaQueue> queue = std::move(*idle);
      idle_queues_.erase(idle);
      return queue;
    }
    idle_queues_.reserve(idle_queues_.capacity() + 1);  // so that giving it back cannot fail
  }
  return std::make_unique<CudaQueue>(*this, device);
}

void CudaSystem::give_back(std::unique_ptr<CudaQueue> queue) noexcept {
  const std::lock_guard lock(mutex_);
  if (idle_queues_.size() < idle_queues_.capacity()) idle_queues_.push_back(std::move(queue));
}

KeptDevice::KeptDevice(const TesseraCudaApi& api) noexcept : api_(&api) {
  if (api.current_device(&number_) != TESSERA_CUDA_OK) number_ = -1;
}

KeptDevice::~KeptDevice() {
  int now = -1;
  if (number_ >= 0 && api_->current_device(&now) == TESSERA_CUDA_OK && now != number_)
    api_->set_device(number_);
}

BorrowedQueue::BorrowedQueue(CudaSystem& system, std::size_t device)
    : before_(system.api()), system_(&system), queue_(system.borrow(device)) {
  queue_->enter();
}

BorrowedQueue::~BorrowedQueue() {
  // What an error left on the queue may still use the buffers that it keeps.
  if (queue_->busy()) queue_->settle();
  system_->give_back(std::move(queue_));
}

CudaQueue::CudaQueue(CudaSystem& system, std::size_t device) : system_(&system), device_(device) {
  const KeptDevice before(api());
  const int number = system.devices()[device].id.number;
  check(api(), TESSERA_CUDA_RUNTIME, api().set_device(number), "set_device");
  check(api(), TESSERA_CUDA_RUNTIME, api().stream_create(number, &stream_), "stream_create");
  const int status = api().event_create(number, &event_);
  if (status != TESSERA_CUDA_OK) api().stream_destroy(stream_);
  check(api(), TESSERA_CUDA_RUNTIME, status, "event_create");
}

CudaQueue::~CudaQueue() {
  api().stream_synchronize(stream_);
  if (blas_ != nullptr) api().blas_destroy(blas_);
  if (solver_ != nullptr) api().solver_destroy(solver_);
  if (blas_workspace_ != nullptr) pool().free_extra(blas_workspace_);
  api().event_destroy(event_);
  api().stream_destroy(stream_);
}

CudaPool& CudaQueue::pool() const noexcept { return *system_->per_device_[device_]->pool; }

const TesseraCudaApi& CudaQueue::api() const noexcept { return system_->api(); }

MemoryPool& CudaQueue::memory() noexcept { return pool(); }

MemoryPool& CudaQueue::staging() noexcept { return system_->staging(); }

const TesseraCudaDeviceInfo& CudaQueue::info() const noexcept { return system_->info(device_); }

void CudaQueue::enter() { system_->enter(device_); }

void CudaQueue::copy(std::byte* to, const std::byte* from, std::size_t size_bytes) {
  if (size_bytes == 0) return;
  busy_ = true;
  check(api(), TESSERA_CUDA_RUNTIME, api().copy(to, from, size_bytes, stream_), "copy");
}

void CudaQueue::copy_from(std::size_t device, std::byte* to, const std::byte* from,
                          std::size_t size_bytes) {
  copy_peer(system_->devices()[device].id.number, to, from, size_bytes);
}

void CudaQueue::copy_peer(int number, std::byte* to, const std::byte* from,
                          std::size_t size_bytes) {
  if (size_bytes == 0) return;
  busy_ = true;
  const int own = system_->devices()[device_].id.number;
  check(api(), TESSERA_CUDA_RUNTIME, api().copy_peer(to, own, from, number, size_bytes, stream_),
        "copy_peer");
}

void CudaQueue::fill(std::byte* data, int byte, std::size_t size_bytes) {
  if (size_bytes == 0) return;
  busy_ = true;
  check(api(), TESSERA_CUDA_RUNTIME, api().fill(data, byte, size_bytes, stream_), "fill");
}

void CudaQueue::launch(void* kernel, const char* name, const unsigned (&grid)[3],
                       const unsigned (&block)[3], std::size_t shared_bytes, void** arguments) {
  busy_ = true;
  const int status = api().launch(kernel, grid, block, shared_bytes, stream_, arguments);
  if (status != TESSERA_CUDA_OK)
    check(api(), TESSERA_CUDA_RUNTIME, status, core::text("launch of ", name).c_str());
}

void CudaQueue::wait() {
  if (busy_ || !kept_.empty()) {
    check(api(), TESSERA_CUDA_RUNTIME, api().event_record(event_, stream_), "event_record");
    check(api(), TESSERA_CUDA_RUNTIME, api().event_synchronize(event_), "event_synchronize");
  }
  busy_ = false;
  kept_.clear();
}

void CudaQueue::settle() noexcept {
  api().stream_synchronize(stream_);
  busy_ = false;
  kept_.clear();
}

void* CudaQueue::blas() {
  busy_ = true;
  if (blas_ != nullptr) return blas_;
  void* handle = nullptr;
  check(api(), TESSERA_CUDA_BLAS, api().blas_create(&handle), "blas_create");
  blas_ = handle;
  check(api(), TESSERA_CUDA_BLAS, api().blas_set_stream(blas_, stream_), "blas_set_stream");
  blas_workspace_ = pool().allocate_extra(kBlasWorkspace);
  check(api(), TESSERA_CUDA_BLAS, api().blas_set_workspace(blas_, blas_workspace_, kBlasWorkspace),
        "blas_set_workspace");
  return blas_;
}

void* CudaQueue::solver() {
  busy_ = true;
  if (solver_ != nullptr) return solver_;
  void* handle = nullptr;
  check(api(), TESSERA_CUDA_SOLVER, api().solver_create(&handle), "solver_create");
  solver_ = handle;
  check(api(), TESSERA_CUDA_SOLVER, api().solver_set_stream(solver_, stream_),
        "solver_set_stream");
  return solver_;
}

}  // namespace tessera::device::cuda
