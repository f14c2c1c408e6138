#include "kernels/cuda/kernel_cache.hpp"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>

#include "core/environment.hpp"
#include "core/text.hpp"
#include "kernels/cuda/cubin_folder.hpp"
#include "kernels/cuda/program_source.hpp"
#include "tessera/error.hpp"

namespace tessera::kernels::cuda {

namespace {

using core::text;

// More would only take cores from the host's side of the work.
constexpr int kMaxThreads = 4;

std::string numbered(std::string_view source) {
  std::string out;
  int number = 0;
  while (!source.empty()) {
    const std::size_t end = std::min(source.find('\n'), source.size() - 1);
    out += text(++number, ": ", source.substr(0, end + 1));
    source.remove_prefix(end + 1);
  }
  return out;
}

/// A source for one architecture.
struct Build {
  enum class Status { kWaiting, kRunning, kReady, kFailed };

  std::string architecture;
  std::size_t device = 0;  ///< one that has it
  std::mutex mutex;
  std::condition_variable ended;
  Status status = Status::kWaiting;
  std::exception_ptr failure;
  void* library = nullptr;
  std::vector<void*> kernels;  ///< in the order of the source's names
};

/// What the module's compiler left behind.
struct Output {
  explicit Output(const TesseraCudaApi& table) : api(table) {}
  ~Output() {
    if (cubin != nullptr) api.compile_free(cubin);
    if (log != nullptr) api.compile_free(log);
  }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;
  std::string_view code() const { return {static_cast<const char*>(cubin), bytes}; }

  const TesseraCudaApi& api;
  void* cubin = nullptr;
  std::size_t bytes = 0;
  char* log = nullptr;
};

}  // namespace

struct CompiledSource::State {
  KernelCache::Impl* cache = nullptr;
  const std::string* source = nullptr;  ///< the cache's key
  std::vector<std::string> names;
  std::vector<std::unique_ptr<Build>> builds;  ///< one for each architecture
};

struct KernelCache::Impl {
  Impl(device::cuda::CudaSystem& s, std::string path)
      : system(s), folder(path.empty() ? CubinFolder::default_path() : std::move(path)) {
    for (std::size_t d = 0; d < system.devices().size(); ++d) {
      const std::string architecture = system.architecture(d);
      const auto known = std::find(architectures.begin(), architectures.end(), architecture);
      architecture_of.push_back(static_cast<std::size_t>(known - architectures.begin()));
      if (known == architectures.end()) {
        architectures.push_back(architecture);
        first_device.push_back(d);
      }
    }
  }
  ~Impl();

  CompiledSource prepare(std::string source, std::vector<std::string> names);
  void start_thread();
  void work();
  void run(const CompiledSource::State& state, Build& build) noexcept;
  void compile_and_load(const CompiledSource::State& state, Build& build, std::string& key,
                        Output& output);
  bool load(const CompiledSource::State& state, Build& build, std::string_view cubin, bool must);
  [[noreturn]] void refuse(const CompiledSource::State& state, int status, const char* log) const;

  using Job = std::pair<std::shared_ptr<CompiledSource::State>, Build*>;

  device::cuda::CudaSystem& system;
  CubinFolder folder;
  std::vector<std::string> architectures;
  std::vector<std::size_t> first_device;     ///< of each architecture
  std::vector<std::size_t> architecture_of;  ///< of each device
  std::mutex mutex;
  std::condition_variable arrived;
  std::unordered_map<std::string, CompiledSource> sources;
  std::deque<Job> jobs;
  int idle_threads = 0;
  bool ending = false;
  std::vector<std::thread> threads;
};

KernelCache::Impl::~Impl() {
  {
    const std::lock_guard lock(mutex);
    ending = true;
  }
  arrived.notify_all();
  for (std::thread& thread : threads) thread.join();
  for (auto& [text, source] : sources) {
    for (const auto& build : source.state_->builds) {
      if (build->library != nullptr) system.api().library_unload(build->library);
    }
  }
}

CompiledSource KernelCache::Impl::prepare(std::string source, std::vector<std::string> names) {
  const std::lock_guard lock(mutex);
  const auto entry = sources.try_emplace(std::move(source)).first;
  CompiledSource& known = entry->second;
  if (known.state_ != nullptr) return known;
  known.state_ = std::make_shared<CompiledSource::State>();
  known.state_->cache = this;
  known.state_->source = &entry->first;
  known.state_->names = std::move(names);
  for (std::size_t a = 0; a < architectures.size(); ++a) {
    auto build = std::make_unique<Build>();
    build->architecture = architectures[a];
    build->device = first_device[a];
    jobs.emplace_back(known.state_, build.get());
    known.state_->builds.push_back(std::move(build));
  }
  if (static_cast<std::size_t>(idle_threads) < jobs.size()) start_thread();
  arrived.notify_all();
  return known;
}

void KernelCache::Impl::start_thread() {
  if (static_cast<int>(threads.size()) < std::min(kMaxThreads, core::available_cores())) {
    threads.emplace_back([this] { work(); });
  }
}

void KernelCache::Impl::work() {
  std::unique_lock lock(mutex);
  while (true) {
    ++idle_threads;
    arrived.wait(lock, [&] { return ending || !jobs.empty(); });
    --idle_threads;
    if (ending) return;
    const Job job = std::move(jobs.front());
    jobs.pop_front();
    lock.unlock();
    run(*job.first, *job.second);
    lock.lock();
  }
}

/// Builds what nobody else builds or has built.
void KernelCache::Impl::run(const CompiledSource::State& state, Build& build) noexcept {
  {
    const std::lock_guard lock(build.mutex);
    if (build.status != Build::Status::kWaiting) return;
    build.status = Build::Status::kRunning;
  }
  std::exception_ptr failure;
  Output output(system.api());
  std::string key;
  try {
    compile_and_load(state, build, key, output);
  } catch (...) {
    failure = std::current_exception();
  }
  {
    const std::lock_guard lock(build.mutex);
    build.failure = failure;
    build.status = failure ? Build::Status::kFailed : Build::Status::kReady;
  }
  build.ended.notify_all();
  // Nobody needs to wait for the file.
  if (!failure && output.cubin != nullptr) folder.keep(key, output.code());
}

/// `output` stays empty where the folder has the cubin.
void KernelCache::Impl::compile_and_load(const CompiledSource::State& state, Build& build,
                                         std::string& key, Output& output) {
  const TesseraCudaApi& api = system.api();
  const std::string architecture = "--gpu-architecture=" + build.architecture;
  std::vector<const char*> options(compile_options().begin(), compile_options().end());
  options.push_back(architecture.c_str());
  key = text(api.compiler(), "\n");
  for (const char* option : options) key += text(option, "\n");
  key += *state.source;

  if (const std::optional<std::string> cubin = folder.find(key)) {
    if (load(state, build, *cubin, false)) return;
  }
  const int status =
      api.compile(state.source->c_str(), "tessera.cu", options.data(),
                  static_cast<int>(options.size()), &output.cubin, &output.bytes, &output.log);
  if (status != TESSERA_CUDA_OK || output.cubin == nullptr) refuse(state, status, output.log);
  load(state, build, output.code(), true);
}

/// Whether the cubin holds the kernels. \throws DeviceError when it does not and it must.
bool KernelCache::Impl::load(const CompiledSource::State& state, Build& build,
                             std::string_view cubin, bool must) {
  const TesseraCudaApi& api = system.api();
  system.enter(build.device);
  void* library = nullptr;
  const char* call = "library_load";
  int status = api.library_load(&library, cubin.data(), cubin.size());
  std::vector<void*> kernels(state.names.size());
  for (std::size_t k = 0; k < kernels.size() && status == TESSERA_CUDA_OK; ++k) {
    call = "library_kernel";
    status = api.library_kernel(&kernels[k], library, state.names[k].c_str());
  }
  if (status != TESSERA_CUDA_OK) {
    if (library != nullptr) api.library_unload(library);
    if (must) device::cuda::check(api, TESSERA_CUDA_RUNTIME, status, call);
    return false;
  }
  build.library = library;
  build.kernels = std::move(kernels);
  return true;
}

void KernelCache::Impl::refuse(const CompiledSource::State& state, int status,
                               const char* log) const {
  throw Error(text("[cuda] internal error: a generated kernel must compile; got \"",
                   system.api().error_text(TESSERA_CUDA_NVRTC, status), "\" from ",
                   system.api().compiler(), ":\n", log != nullptr ? log : "", "\nof the source\n",
                   numbered(*state.source), "try TESSERA_DEVICES=host, and report this text"));
}

void* CompiledSource::kernel(device::cuda::CudaQueue& queue, const char* name) const {
  KernelCache::Impl& cache = *state_->cache;
  Build& build = *state_->builds[cache.architecture_of[queue.device()]];
  cache.run(*state_, build);
  {
    std::unique_lock lock(build.mutex);
    build.ended.wait(lock, [&] { return build.status != Build::Status::kRunning; });
  }
  // run() and the cache's threads may have left another device current.
  queue.enter();
  if (build.failure) std::rethrow_exception(build.failure);
  const auto place = std::find(state_->names.begin(), state_->names.end(), name);
  if (place == state_->names.end())
    throw Error(text("[cuda] internal error: no kernel \"", name, "\" was asked for"));
  return build.kernels[static_cast<std::size_t>(place - state_->names.begin())];
}

KernelCache::KernelCache(device::cuda::CudaSystem& system, std::string folder)
    : impl_(std::make_unique<Impl>(system, std::move(folder))) {}

KernelCache::~KernelCache() = default;

CompiledSource KernelCache::prepare(std::string source, std::vector<std::string> names) {
  return impl_->prepare(std::move(source), std::move(names));
}

device::cuda::CudaSystem& KernelCache::system() const noexcept { return impl_->system; }

}  // namespace tessera::kernels::cuda
