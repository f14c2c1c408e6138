#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <vector>

#include "device/cuda/module/module_parts.hpp"

#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#define TESSERA_HAVE_NVTX 1
#endif

namespace tessera::device::cuda::vendor {
namespace {

static_assert(int{TESSERA_CUDA_OUT_OF_MEMORY} == int{cudaErrorMemoryAllocation});
static_assert(int{TESSERA_CUDA_NOT_READY} == int{cudaErrorNotReady});

cudaStream_t stream_of(void* stream) { return static_cast<cudaStream_t>(stream); }
cudaEvent_t event_of(void* event) { return static_cast<cudaEvent_t>(event); }

/// Another current device of the calling thread for a while.
class OnDevice {
 public:
  explicit OnDevice(int device) {
    status_ = cudaGetDevice(&before_);
    if (status_ == cudaSuccess && before_ != device) {
      status_ = cudaSetDevice(device);
      moved_ = status_ == cudaSuccess;
    }
  }
  ~OnDevice() {
    if (moved_) cudaSetDevice(before_);
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  int status() const { return status_; }

 private:
  cudaError_t status_;
  int before_ = 0;
  bool moved_ = false;
};

/// Which devices may reach which memory: access to a pool is granted pool by pool, whichever of
/// pool and peer is there first.
class PeerAccess {
 public:
  int add_pool(int device, cudaMemPool_t pool) {
    const std::lock_guard lock(mutex_);
    pools_.push_back({device, pool});
    for (const Pair& pair : pairs_) {
      if (pair.peer != device) continue;
      if (const int status = grant(pool, pair.device); status != cudaSuccess) return status;
    }
    return cudaSuccess;
  }
  void remove_pool(cudaMemPool_t pool) {
    const std::lock_guard lock(mutex_);
    std::erase_if(pools_, [&](const Pool& p) { return p.pool == pool; });
  }
  int add_pair(int device, int peer) {
    const std::lock_guard lock(mutex_);
    pairs_.push_back({device, peer});
    for (const Pool& p : pools_) {
      if (p.device != peer) continue;
      if (const int status = grant(p.pool, device); status != cudaSuccess) return status;
    }
    return cudaSuccess;
  }

 private:
  struct Pool {
    int device;
    cudaMemPool_t pool;
  };
  struct Pair {
    int device, peer;
  };
  static int grant(cudaMemPool_t pool, int device) {
    cudaMemAccessDesc access{};
    access.location.type = cudaMemLocationTypeDevice;
    access.location.id = device;
    access.flags = cudaMemAccessFlagsProtReadWrite;
    return cudaMemPoolSetAccess(pool, &access, 1);
  }
  std::mutex mutex_;
  std::vector<Pool> pools_;
  std::vector<Pair> pairs_;
};
PeerAccess& peer_access() {
  static PeerAccess access;
  return access;
}

int device_count(int* count) {
  *count = 0;
  return cudaGetDeviceCount(count);
}

int device_info(int device, TesseraCudaDeviceInfo* info) {
  const OnDevice there(device);
  if (there.status() != cudaSuccess) return there.status();
  cudaDeviceProp properties{};
  cudaError_t status = cudaGetDeviceProperties(&properties, device);
  if (status != cudaSuccess) return status;
  *info = {};
  std::snprintf(info->name, sizeof info->name, "%s", properties.name);
  info->major = properties.major;
  info->minor = properties.minor;
  info->multiprocessors = properties.multiProcessorCount;
  info->threads_per_multiprocessor = properties.maxThreadsPerMultiProcessor;
  info->shared_bytes_per_block = properties.sharedMemPerBlock;
  info->l2_bytes = static_cast<size_t>(properties.l2CacheSize);
  status = cudaDeviceGetPCIBusId(info->pci_bus_id, sizeof info->pci_bus_id, device);
  if (status != cudaSuccess) return status;
  return cudaMemGetInfo(&info->free_bytes, &info->memory_bytes);
}

int set_device(int device) { return cudaSetDevice(device); }

int enable_peer(int device, int peer, int* direct) {
  *direct = 0;
  int can = 0;
  cudaError_t status = cudaDeviceCanAccessPeer(&can, device, peer);
  if (status != cudaSuccess || can == 0) return status;
  const OnDevice there(device);
  if (there.status() != cudaSuccess) return there.status();
  status = cudaDeviceEnablePeerAccess(peer, 0);
  if (status == cudaErrorPeerAccessAlreadyEnabled) {
    cudaGetLastError();
  } else if (status != cudaSuccess) {
    return status;
  }
  if (const int granted = peer_access().add_pair(device, peer); granted != cudaSuccess)
    return granted;
  *direct = 1;
  return cudaSuccess;
}

int synchronize_device(int device) {
  const OnDevice there(device);
  return there.status() != cudaSuccess ? there.status() : cudaDeviceSynchronize();
}

int pool_create(int device, void** pool) {
  *pool = nullptr;
  cudaMemPoolProps properties{};
  properties.allocType = cudaMemAllocationTypePinned;
  properties.handleTypes = cudaMemHandleTypeNone;
  properties.location.type = cudaMemLocationTypeDevice;
  properties.location.id = device;
  cudaMemPool_t made = nullptr;
  int status = cudaMemPoolCreate(&made, &properties);
  if (status != cudaSuccess) return status;
  // Otherwise every synchronisation gives what is free back to the driver, which takes it back
  // slowly.
  uint64_t keep = UINT64_MAX;
  status = cudaMemPoolSetAttribute(made, cudaMemPoolAttrReleaseThreshold, &keep);
  if (status == cudaSuccess) status = peer_access().add_pool(device, made);
  if (status != cudaSuccess) {
    peer_access().remove_pool(made);
    cudaMemPoolDestroy(made);
    return status;
  }
  *pool = made;
  return cudaSuccess;
}

int pool_destroy(void* pool) {
  peer_access().remove_pool(static_cast<cudaMemPool_t>(pool));
  return cudaMemPoolDestroy(static_cast<cudaMemPool_t>(pool));
}

int pool_trim(void* pool, size_t keep_bytes) {
  return cudaMemPoolTrimTo(static_cast<cudaMemPool_t>(pool), keep_bytes);
}

int pool_held_bytes(void* pool, size_t* bytes) {
  uint64_t held = 0;
  const cudaError_t status = cudaMemPoolGetAttribute(static_cast<cudaMemPool_t>(pool),
                                                     cudaMemPoolAttrReservedMemCurrent, &held);
  *bytes = static_cast<size_t>(held);
  return status;
}

int pool_allocate(void** data, size_t bytes, void* pool, void* stream) {
  *data = nullptr;
  return cudaMallocFromPoolAsync(data, bytes, static_cast<cudaMemPool_t>(pool), stream_of(stream));
}

int pool_free(void* data, void* stream) { return cudaFreeAsync(data, stream_of(stream)); }

int host_allocate(void** data, size_t bytes) {
  *data = nullptr;
  return cudaHostAlloc(data, bytes, cudaHostAllocPortable);
}

int host_free(void* data) { return cudaFreeHost(data); }

int stream_create(int device, void** stream) {
  *stream = nullptr;
  const OnDevice there(device);
  if (there.status() != cudaSuccess) return there.status();
  return cudaStreamCreateWithFlags(reinterpret_cast<cudaStream_t*>(stream), cudaStreamNonBlocking);
}

int stream_destroy(void* stream) { return cudaStreamDestroy(stream_of(stream)); }
int stream_synchronize(void* stream) { return cudaStreamSynchronize(stream_of(stream)); }

int stream_wait(void* stream, void* event) {
  return cudaStreamWaitEvent(stream_of(stream), event_of(event), 0);
}

int event_create(int device, void** event) {
  *event = nullptr;
  const OnDevice there(device);
  if (there.status() != cudaSuccess) return there.status();
  return cudaEventCreateWithFlags(reinterpret_cast<cudaEvent_t*>(event), cudaEventBlockingSync);
}

int event_destroy(void* event) { return cudaEventDestroy(event_of(event)); }

// Event and stream are of one device.
int event_on(int device, void* stream, void** event) {
  const OnDevice there(device);
  if (there.status() != cudaSuccess) return there.status();
  cudaEvent_t made = nullptr;
  cudaError_t status = cudaEventCreateWithFlags(&made, cudaEventDisableTiming);
  if (status != cudaSuccess) return status;
  status = cudaEventRecord(made, stream_of(stream));
  if (status != cudaSuccess) {
    cudaEventDestroy(made);
    return status;
  }
  *event = made;
  return cudaSuccess;
}

// Which device a stream is of, the runtime tells from 12.8 on only: the others are tried.
int event_behind(int device, void* stream, void** event) {
  *event = nullptr;
  const int status = event_on(device, stream, event);
  if (status == cudaSuccess || stream == nullptr) return status;
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) return status;
  for (int other = 0; other < count; ++other) {
    if (other == device) continue;
    cudaGetLastError();
    if (event_on(other, stream, event) == cudaSuccess) return cudaSuccess;
  }
  return status;
}

int memory_device(const void* data, int* device) {
  cudaPointerAttributes is{};
  const cudaError_t status = cudaPointerGetAttributes(&is, data);
  if (status != cudaSuccess) return status;
  const bool there = is.type == cudaMemoryTypeDevice || is.type == cudaMemoryTypeManaged;
  *device = there ? is.device : -1;
  return cudaSuccess;
}

int event_record(void* event, void* stream) {
  return cudaEventRecord(event_of(event), stream_of(stream));
}

int event_query(void* event) { return cudaEventQuery(event_of(event)); }
int event_synchronize(void* event) { return cudaEventSynchronize(event_of(event)); }

int event_elapsed_ms(float* ms, void* begin, void* end) {
  return cudaEventElapsedTime(ms, event_of(begin), event_of(end));
}

int copy(void* to, const void* from, size_t bytes, void* stream) {
  return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_of(stream));
}

int copy_peer(void* to, int to_device, const void* from, int from_device, size_t bytes,
              void* stream) {
  return cudaMemcpyPeerAsync(to, to_device, from, from_device, bytes, stream_of(stream));
}

int fill(void* data, int byte, size_t bytes, void* stream) {
  return cudaMemsetAsync(data, byte, bytes, stream_of(stream));
}

int library_load(void** library, const void* cubin, size_t) {
  *library = nullptr;
  return cudaLibraryLoadData(reinterpret_cast<cudaLibrary_t*>(library), cubin, nullptr, nullptr, 0,
                             nullptr, nullptr, 0);
}

int library_unload(void* library) { return cudaLibraryUnload(static_cast<cudaLibrary_t>(library)); }

int library_kernel(void** kernel, void* library, const char* name) {
  *kernel = nullptr;
  return cudaLibraryGetKernel(reinterpret_cast<cudaKernel_t*>(kernel),
                              static_cast<cudaLibrary_t>(library), name);
}

int launch(void* kernel, const unsigned grid[3], const unsigned block[3], size_t shared_bytes,
           void* stream, void** arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = {grid[0], grid[1], grid[2]};
  config.blockDim = {block[0], block[1], block[2]};
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream_of(stream);
  return cudaLaunchKernelExC(&config, kernel, arguments);
}

#ifdef TESSERA_HAVE_NVTX
void range_push(const char* name) { nvtxRangePushA(name); }
void range_pop() { nvtxRangePop(); }
#endif

}  // namespace

void add_runtime(TesseraCudaApi& api) {
  api.device_count = device_count;
  api.device_info = device_info;
  api.device_address = [](int device, char* text, int bytes) {
    return int{cudaDeviceGetPCIBusId(text, bytes, device)};
  };
  api.device_memory = [](int device, size_t* bytes) {
    cudaDeviceProp properties;
    const cudaError_t status = cudaGetDeviceProperties(&properties, device);
    if (status == cudaSuccess) *bytes = properties.totalGlobalMem;
    return int{status};
  };
  api.set_device = set_device;
  api.current_device = [](int* device) { return int{cudaGetDevice(device)}; };
  api.enable_peer = enable_peer;
  api.synchronize_device = synchronize_device;
  api.pool_create = pool_create;
  api.pool_destroy = pool_destroy;
  api.pool_trim = pool_trim;
  api.pool_held_bytes = pool_held_bytes;
  api.pool_allocate = pool_allocate;
  api.pool_free = pool_free;
  api.host_allocate = host_allocate;
  api.host_free = host_free;
  api.memory_device = memory_device;
  api.stream_create = stream_create;
  api.stream_destroy = stream_destroy;
  api.stream_synchronize = stream_synchronize;
  api.stream_wait = stream_wait;
  api.event_create = event_create;
  api.event_destroy = event_destroy;
  api.event_behind = event_behind;
  api.event_record = event_record;
  api.event_query = event_query;
  api.event_synchronize = event_synchronize;
  api.event_elapsed_ms = event_elapsed_ms;
  api.copy = copy;
  api.copy_peer = copy_peer;
  api.fill = fill;
  api.library_load = library_load;
  api.library_unload = library_unload;
  api.library_kernel = library_kernel;
  api.launch = launch;
#ifdef TESSERA_HAVE_NVTX
  api.range_push = range_push;
  api.range_pop = range_pop;
#endif
}

std::string runtime_problem() {
  int count = 0;
  int driver = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  cudaDriverGetVersion(&driver);
  if (status == cudaSuccess && count > 0) return {};
  if (status == cudaSuccess || status == cudaErrorNoDevice) {
    return "the NVIDIA driver (for CUDA " + cuda_version_text(driver) + ") sees no device";
  }
  if (driver == 0) return "there is no NVIDIA driver";
  if (status == cudaErrorInsufficientDriver) {
    return "the NVIDIA driver is for CUDA " + cuda_version_text(driver) +
           ", too old for the runtime's " + cuda_version_text(CUDART_VERSION);
  }
  return std::string("the NVIDIA driver does not start: ") + cudaGetErrorString(status);
}

const char* runtime_error_text(int status) {
  return cudaGetErrorString(static_cast<cudaError_t>(status));
}

std::string runtime_version() {
  int driver = 0;
  cudaDriverGetVersion(&driver);
  return "CUDA runtime " + cuda_version_text(CUDART_VERSION) +
         (driver == 0 ? ", no driver" : ", driver " + cuda_version_text(driver));
}

std::string cuda_version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

}  // namespace tessera::device::cuda::vendor
