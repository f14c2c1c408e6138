#include "tests/cuda/simulated_cuda.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "tests/cuda/simulated_machine.hpp"

// The table's functions for devices, memory, streams and events.

namespace tessera::testing {

using simulated::Event;
using simulated::Pool;
using simulated::Step;
using simulated::Stream;
using Machine = SimulatedCuda::Machine;

namespace {

constexpr std::size_t kAlignment = 256;
constexpr int kFresh = 0xCD;
constexpr int kFreed = 0xDD;
constexpr int kInvalidValue = 1;  // cudaErrorInvalidValue
constexpr int kIllegalAddress = 700;
Machine* the_machine = nullptr;

// Every function that can fail does so where it is asked to, and holds the machine meanwhile.
template <typename F>
int guarded(const char* name, F&& f) {
  Machine& machine = Machine::here();
  const std::lock_guard lock(machine.mutex);
  if (const int status = machine.begin_call(name); status != 0) return status;
  return f(machine);
}

int device_info(int device, TesseraCudaDeviceInfo* info) {
  return guarded("device_info", [&](Machine& machine) {
    if (device < 0 || device >= machine.options.devices) return kInvalidValue;
    const Machine::Memory& memory = machine.memories[static_cast<std::size_t>(device)];
    *info = {};
    std::snprintf(info->name, sizeof info->name, "simulated GPU %d", device);
    std::snprintf(info->pci_bus_id, sizeof info->pci_bus_id, "0000:%02d:00.0", device);
    info->major = 9;
    info->multiprocessors = 4;
    info->threads_per_multiprocessor = 512;
    info->shared_bytes_per_block = std::size_t{48} << 10;
    info->l2_bytes = std::size_t{1} << 20;
    info->memory_bytes = machine.options.memory_bytes;
    info->free_bytes = machine.options.memory_bytes - memory.bytes;
    return 0;
  });
}

thread_local int device_of_thread = 0;

int set_device(int device) {
  return guarded("set_device", [&](Machine& machine) {
    if (device < 0 || device >= machine.options.devices) return kInvalidValue;
    device_of_thread = device;
    return 0;
  });
}

int enable_peer(int, int, int* direct) {
  return guarded("enable_peer", [&](Machine&) {
    *direct = 1;
    return 0;
  });
}

int host_allocate(void** data, std::size_t bytes) {
  return guarded("host_allocate", [&](Machine&) {
    *data = std::aligned_alloc(4096, (std::max<std::size_t>(bytes, 1) + 4095) / 4096 * 4096);
    if (*data == nullptr) return int{TESSERA_CUDA_OUT_OF_MEMORY};
    std::memset(*data, kFresh, bytes);
    return 0;
  });
}

int memory_device(const void* data, int* device) {
  return guarded("memory_device", [&](Machine& machine) {
    *device = machine.device_of(data);
    return 0;
  });
}

int stream_create(int device, void** stream) {
  return guarded("stream_create", [&](Machine& machine) {
    auto* made = new Stream;
    made->device = device;
    machine.streams.insert(made);
    *stream = made;
    return 0;
  });
}

int event_create(int, void** event) {
  return guarded("event_create", [&](Machine& machine) {
    auto* made = new Event;
    machine.events.insert(made);
    *event = made;
    return 0;
  });
}

int event_record(void* handle, void* stream) {
  return guarded("event_record", [&](Machine& machine) {
    auto* event = static_cast<Event*>(handle);
    event->stream = &machine.stream_of(stream);
    machine.put(stream, {nullptr, event, ++event->recorded, false});
    return 0;
  });
}

int stream_wait(void* stream, void* handle) {
  return guarded("stream_wait", [&](Machine& machine) {
    auto* event = static_cast<Event*>(handle);
    machine.put(stream, {nullptr, event, event->recorded, true});
    return 0;
  });
}

// A question makes some progress, or who asks until the answer is yes would never end.
int event_query(void* handle) {
  return guarded("event_query", [&](Machine& machine) {
    auto* event = static_cast<Event*>(handle);
    machine.wander();
    if (event->fired >= event->recorded) return 0;
    const int status = machine.run_step(*event->stream);
    if (status == simulated::kBlocked) return int{TESSERA_CUDA_NOT_READY};
    if (status != 0) return status;
    return event->fired >= event->recorded ? 0 : int{TESSERA_CUDA_NOT_READY};
  });
}

int event_synchronize(void* handle) {
  return guarded("event_synchronize", [&](Machine& machine) {
    auto* event = static_cast<Event*>(handle);
    if (event->fired >= event->recorded) return 0;
    return machine.drain(*event->stream, event, event->recorded);
  });
}

int put_copy(Machine& machine, void* to, const void* from, std::size_t bytes, void* stream) {
  machine.put(stream, {[&machine, to, from, bytes] {
                         if (!machine.may_touch(to, bytes, "a copy's target") ||
                             !machine.may_touch(from, bytes, "a copy's source"))
                           return kIllegalAddress;
                         std::memmove(to, from, bytes);
                         return 0;
                       },
                       nullptr, 0, false});
  return 0;
}

int copy(void* to, const void* from, std::size_t bytes, void* stream) {
  return guarded("copy", [&](Machine& machine) {
    const int target = machine.device_of(to);
    const int source = machine.device_of(from);
    if (target >= 0 && source >= 0 && target != source) {
      machine.note("memory was copied from device to device as if it were one's");
      return kInvalidValue;
    }
    return put_copy(machine, to, from, bytes, stream);
  });
}

int copy_peer(void* to, int to_device, const void* from, int from_device, std::size_t bytes,
              void* stream) {
  return guarded("copy_peer", [&](Machine& machine) {
    if (machine.device_of(to) != to_device || machine.device_of(from) != from_device) {
      machine.note("a copy between devices names others than its memory's");
      return kInvalidValue;
    }
    return put_copy(machine, to, from, bytes, stream);
  });
}

int fill(void* data, int byte, std::size_t bytes, void* stream) {
  return guarded("fill", [&](Machine& machine) {
    machine.put(stream, {[&machine, data, byte, bytes] {
                           if (!machine.may_touch(data, bytes, "what is filled"))
                             return kIllegalAddress;
                           std::memset(data, byte, bytes);
                           return 0;
                         },
                         nullptr, 0, false});
    return 0;
  });
}

const char* error_text(int, int status) {
  switch (status) {
    case kInvalidValue: return "invalid argument";
    case TESSERA_CUDA_OUT_OF_MEMORY: return "out of memory";
    case TESSERA_CUDA_NOT_READY: return "device not ready";
    case kIllegalAddress: return "an illegal memory access was encountered";
    case 719: return "unspecified launch failure";
    default: return "simulated failure";
  }
}

void fill_devices(TesseraCudaApi& api) {
  api.version = TESSERA_CUDA_MODULE_VERSION;
  api.versions = [] { return "simulated CUDA"; };
  api.error_text = error_text;
  api.unavailable = []() -> const char* { return nullptr; };
  api.device_count = [](int* count) {
    return guarded("device_count", [&](Machine& machine) {
      *count = machine.options.devices;
      return 0;
    });
  };
  api.device_info = device_info;
  api.device_address = [](int device, char* text, int bytes) {
    return guarded("device_address", [&](Machine& machine) {
      if (device < 0 || device >= machine.options.devices) return kInvalidValue;
      std::snprintf(text, static_cast<std::size_t>(bytes), "0000:%02d:00.0", device);
      return 0;
    });
  };
  api.device_memory = [](int device, size_t* bytes) {
    return guarded("device_memory", [&](Machine& machine) {
      if (device < 0 || device >= machine.options.devices) return kInvalidValue;
      *bytes = machine.options.memory_bytes;
      return 0;
    });
  };
  api.set_device = set_device;
  api.current_device = [](int* device) {
    return guarded("current_device", [&](Machine&) {
      *device = device_of_thread;
      return 0;
    });
  };
  api.enable_peer = enable_peer;
  api.synchronize_device = [](int device) {
    return guarded("synchronize_device", [&](Machine& machine) {
      for (Stream* stream : machine.streams) {
        if (stream->device != device) continue;
        if (const int status = machine.drain(*stream, nullptr, 0); status != 0) return status;
      }
      return machine.drain(machine.default_streams[static_cast<std::size_t>(device)], nullptr, 0);
    });
  };
}

void fill_memory(TesseraCudaApi& api) {
  api.pool_create = [](int device, void** pool) {
    return guarded("pool_create", [&](Machine&) {
      *pool = new Pool{device};
      return 0;
    });
  };
  api.pool_destroy = [](void* pool) {
    delete static_cast<Pool*>(pool);
    return 0;
  };
  api.pool_trim = [](void*, std::size_t) { return guarded("pool_trim", [](Machine&) { return 0; }); };
  api.pool_held_bytes = [](void* pool, std::size_t* bytes) {
    return guarded("pool_held_bytes", [&](Machine& machine) {
      *bytes = machine.memories[static_cast<std::size_t>(static_cast<Pool*>(pool)->device)].bytes;
      return 0;
    });
  };
  api.pool_allocate = [](void** data, std::size_t bytes, void* pool, void*) {
    return guarded("pool_allocate", [&](Machine& machine) {
      return machine.allocate(static_cast<Pool*>(pool)->device, bytes, data);
    });
  };
  api.pool_free = [](void* data, void*) {
    Machine& machine = Machine::here();
    const std::lock_guard lock(machine.mutex);
    // What is freed is free, whatever the call says.
    const int status = machine.release(data);
    const int failure = machine.begin_call("pool_free");
    return failure != 0 ? failure : status;
  };
  api.memory_device = memory_device;
  api.host_allocate = host_allocate;
  api.host_free = [](void* data) {
    std::free(data);
    return 0;
  };
}

void fill_streams(TesseraCudaApi& api) {
  api.stream_create = stream_create;
  api.stream_destroy = [](void* handle) {
    Machine& machine = Machine::here();
    const std::lock_guard lock(machine.mutex);
    auto* stream = static_cast<Stream*>(handle);
    // As CUDA does, it ends what is on it first.
    if (!machine.broken) machine.drain(*stream, nullptr, 0);
    machine.streams.erase(stream);
    for (Event* event : machine.events) {
      if (event->stream != stream) continue;
      event->fired = event->recorded;
      event->stream = nullptr;
    }
    delete stream;
    return 0;
  };
  api.stream_synchronize = [](void* stream) {
    return guarded("stream_synchronize", [&](Machine& machine) {
      return machine.drain(machine.stream_of(stream), nullptr, 0);
    });
  };
  api.stream_wait = stream_wait;
  api.event_create = event_create;
  api.event_destroy = [](void* handle) {
    Machine& machine = Machine::here();
    const std::lock_guard lock(machine.mutex);
    auto* event = static_cast<Event*>(handle);
    machine.events.erase(event);
    machine.gone_events.emplace_back(event);  // which streams may still wait for
    return 0;
  };
  api.event_behind = [](int device, void* stream, void** event) {
    return guarded("event_behind", [&](Machine& machine) {
      auto* made = new Event;
      machine.events.insert(made);
      *event = made;
      made->stream = stream == nullptr ? &machine.default_streams[static_cast<std::size_t>(device)]
                                       : static_cast<Stream*>(stream);
      machine.put(made->stream, {nullptr, made, ++made->recorded, false});
      return 0;
    });
  };
  api.event_record = event_record;
  api.event_query = event_query;
  api.event_synchronize = event_synchronize;
  api.event_elapsed_ms = [](float* ms, void*, void*) {
    return guarded("event_elapsed_ms", [&](Machine&) {
      *ms = 1.0F;
      return 0;
    });
  };
  api.copy = copy;
  api.copy_peer = copy_peer;
  api.fill = fill;
  api.range_push = nullptr;
  api.range_pop = nullptr;
}

}  // namespace

Machine::Machine(const SimulatedCudaOptions& chosen) : options(chosen), random(chosen.seed) {
  for (int d = 0; d < options.devices; ++d) {
    void* begin = ::mmap(nullptr, options.memory_bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (begin == MAP_FAILED) throw std::runtime_error("no memory for a simulated device");
    memories.push_back({static_cast<std::byte*>(begin), {}, 0});
    default_streams.emplace_back().device = d;
  }
  fill_devices(api);
  fill_memory(api);
  fill_streams(api);
  simulated::fill_kernels(api);
  simulated::fill_libraries(api);
}

Machine::~Machine() {
  for (const Memory& memory : memories) ::munmap(memory.begin, options.memory_bytes);
  for (Stream* stream : streams) delete stream;
  for (Event* event : events) delete event;
}

Machine& Machine::here() {
  if (the_machine == nullptr) throw std::logic_error("no simulated machine is there");
  return *the_machine;
}

int Machine::begin_call(const char* name) {
  if (broken) return fail_status;
  if (!fail_name.empty() && fail_name != name) return 0;
  ++call_count;
  if (fail_at == 0 || call_count != fail_at) return 0;
  broken = fail_sticky;
  return fail_status;
}

int Machine::device_of(const void* data) const {
  for (std::size_t d = 0; d < memories.size(); ++d) {
    const std::byte* begin = memories[d].begin;
    if (data >= begin && data < begin + options.memory_bytes) return static_cast<int>(d);
  }
  return -1;
}

// Null: the default stream of the thread's device.
Stream& Machine::stream_of(void* handle) {
  return handle != nullptr ? *static_cast<Stream*>(handle)
                           : default_streams[static_cast<std::size_t>(device_of_thread)];
}

void Machine::put(void* handle, Step step) {
  Stream& stream = stream_of(handle);
  stream.steps.push_back(std::move(step));
  if (!options.lazy) drain(stream, nullptr, 0);
}

int Machine::run_step(Stream& stream) {
  if (stream.steps.empty()) return 0;
  if (stream.steps.front().waits) {
    const Step waiting = stream.steps.front();
    if (waiting.event->fired < waiting.count) {
      stream.waiting = true;
      const int status = drain(*waiting.event->stream, waiting.event, waiting.count);
      stream.waiting = false;
      if (status != 0) return status;
    }
    stream.steps.pop_front();
    return 0;
  }
  if (Event* event = stream.steps.front().event; event != nullptr) {
    event->fired = std::max(event->fired, stream.steps.front().count);
    stream.steps.pop_front();
    return 0;
  }
  const int status = stream.steps.front().work();
  if (status == simulated::kBlocked) return status;
  stream.steps.pop_front();
  if (status != 0) {
    // As a device that has failed: nothing works from now on.
    broken = true;
    fail_status = status;
  }
  return status;
}

int Machine::drain(Stream& stream, const Event* until, std::uint64_t count) {
  while (!stream.steps.empty() && (until == nullptr || until->fired < count)) {
    if (const int status = run_step(stream); status != 0) return status;
  }
  wander();
  return 0;
}

// Other streams run, too, now and then.
void Machine::wander() {
  if (streams.empty() || random() % 4 != 0) return;
  auto chosen = streams.begin();
  std::advance(chosen, random() % streams.size());
  Stream& stream = **chosen;
  if (stream.waiting) return;
  for (std::uint64_t left = random() % 3; left > 0 && !stream.steps.empty(); --left) {
    if (stream.steps.front().waits && stream.steps.front().event->fired < stream.steps.front().count)
      return;
    if (run_step(stream) != 0) return;
  }
}

int Machine::allocate(int device, std::size_t bytes, void** data) {
  Memory& memory = memories[static_cast<std::size_t>(device)];
  const std::size_t size = (std::max<std::size_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
  std::byte* at = memory.begin;
  for (const auto& [begin, length] : memory.used) {
    if (static_cast<std::size_t>(begin - at) >= size) break;
    at = begin + length;
  }
  if (at + size > memory.begin + options.memory_bytes) return TESSERA_CUDA_OUT_OF_MEMORY;
  memory.used[at] = size;
  memory.bytes += size;
  std::memset(at, kFresh, size);
  *data = at;
  return 0;
}

int Machine::release(void* data) {
  for (Memory& memory : memories) {
    const auto found = memory.used.find(static_cast<std::byte*>(data));
    if (found == memory.used.end()) continue;
    std::memset(data, kFreed, found->second);
    memory.bytes -= found->second;
    memory.used.erase(found);
    return 0;
  }
  note("memory was freed that is not in use");
  return kInvalidValue;
}

bool Machine::may_touch(const void* data, std::size_t bytes, const char* what) {
  const auto* begin = static_cast<const std::byte*>(data);
  for (const Memory& memory : memories) {
    if (begin < memory.begin || begin >= memory.begin + options.memory_bytes) continue;
    auto after = memory.used.upper_bound(const_cast<std::byte*>(begin));
    if (after != memory.used.begin()) {
      --after;
      if (begin + bytes <= after->first + after->second) return true;
    }
    note(std::string(what) + " lies in device memory that is not in use");
    return false;
  }
  return true;
}

void Machine::note(const std::string& text) {
  if (!misuses.empty()) misuses += "; ";
  misuses += text;
}

SimulatedCuda::SimulatedCuda(const SimulatedCudaOptions& options)
    : machine_(std::make_unique<Machine>(options)) {
  if (the_machine != nullptr) throw std::logic_error("there is one simulated machine at a time");
  the_machine = machine_.get();
}

SimulatedCuda::~SimulatedCuda() { the_machine = nullptr; }

const TesseraCudaApi& SimulatedCuda::api() const noexcept { return machine_->api; }

std::int64_t SimulatedCuda::launches(const std::string& kernel) const {
  const std::lock_guard lock(machine_->mutex);
  const auto found = machine_->launches.find(kernel);
  return found != machine_->launches.end() ? found->second : 0;
}

void SimulatedCuda::fail_call(std::int64_t n, int status, const std::string& name, bool sticky) {
  const std::lock_guard lock(machine_->mutex);
  machine_->call_count = 0;
  machine_->fail_at = n;
  machine_->fail_status = status;
  machine_->fail_sticky = sticky;
  machine_->fail_name = name;
}

void SimulatedCuda::stop_failing() {
  fail_call(0, 0);
  const std::lock_guard lock(machine_->mutex);
  machine_->broken = false;
}

std::int64_t SimulatedCuda::calls() const {
  const std::lock_guard lock(machine_->mutex);
  return machine_->call_count;
}

std::size_t SimulatedCuda::bytes_in_use() const {
  const std::lock_guard lock(machine_->mutex);
  std::size_t bytes = 0;
  for (const Machine::Memory& memory : machine_->memories) bytes += memory.bytes;
  return bytes;
}

std::string SimulatedCuda::misuse() const {
  const std::lock_guard lock(machine_->mutex);
  return machine_->misuses;
}

}  // namespace tessera::testing
