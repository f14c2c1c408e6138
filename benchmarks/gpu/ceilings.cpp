#include "benchmarks/gpu/ceilings.hpp"

#include <algorithm>
#include <cstring>
#include <exception>
#include <functional>
#include <random>

#include "core/text.hpp"
#include "device/cuda/cuda_module.h"
#include "device/cuda/cuda_system.hpp"

namespace tessera::benchmarks::gpu {
namespace {

using device::cuda::check;

constexpr std::size_t kMiB = std::size_t{1} << 20;

/// One stream, a pool and a pair of events of a device, for measurements one after the other.
class Bench {
 public:
  Bench(const TesseraCudaApi& api, int device) : api_(api) {
    runtime(api.set_device(device), "set_device");
    runtime(api.stream_create(device, &stream_), "stream_create");
    runtime(api.pool_create(device, &pool_), "pool_create");
    runtime(api.event_create(device, &begin_), "event_create");
    runtime(api.event_create(device, &end_), "event_create");
  }
  ~Bench() {
    api_.stream_synchronize(stream_);
    api_.event_destroy(end_);
    api_.event_destroy(begin_);
    api_.pool_destroy(pool_);
    api_.stream_destroy(stream_);
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  const TesseraCudaApi& api() const { return api_; }
  void* stream() const { return stream_; }
  void* pool() const { return pool_; }
  void runtime(int status, const char* call) const {
    check(api_, TESSERA_CUDA_RUNTIME, status, call);
  }
  void copy(void* to, const void* from, std::size_t bytes) const {
    runtime(api_.copy(to, from, bytes, stream_), "copy");
  }
  void wait() const { runtime(api_.stream_synchronize(stream_), "stream_synchronize"); }

  /// Device time of each of `repeat` calls after one that is not counted.
  Timed time(int repeat, const std::function<void()>& work) const {
    work();
    wait();
    Timed timed;
    for (int i = 0; i < repeat; ++i) {
      runtime(api_.event_record(begin_, stream_), "event_record");
      work();
      runtime(api_.event_record(end_, stream_), "event_record");
      runtime(api_.event_synchronize(end_), "event_synchronize");
      float ms = 0.0f;
      runtime(api_.event_elapsed_ms(&ms, begin_, end_), "event_elapsed_ms");
      timed.seconds.push_back(1e-3 * static_cast<double>(ms));
    }
    return timed;
  }

 private:
  const TesseraCudaApi& api_;
  void* stream_ = nullptr;
  void* pool_ = nullptr;
  void* begin_ = nullptr;
  void* end_ = nullptr;
};

class DeviceMemory {
 public:
  DeviceMemory(const Bench& bench, std::size_t bytes) : bench_(bench), bytes_(bytes) {
    bench.runtime(bench.api().pool_allocate(&data_, bytes, bench.pool(), bench.stream()),
                  "pool_allocate");
  }
  ~DeviceMemory() {
    bench_.api().pool_free(data_, bench_.stream());
    bench_.api().stream_synchronize(bench_.stream());
    bench_.api().pool_trim(bench_.pool(), 0);
  }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }

 private:
  const Bench& bench_;
  void* data_ = nullptr;
  std::size_t bytes_;
};

class PinnedMemory {
 public:
  PinnedMemory(const TesseraCudaApi& api, std::size_t bytes) : api_(api) {
    check(api, TESSERA_CUDA_RUNTIME, api.host_allocate(&data_, bytes), "host_allocate");
    std::memset(data_, 1, bytes);
  }
  ~PinnedMemory() { api_.host_free(data_); }
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;
  void* data() const { return data_; }

 private:
  const TesseraCudaApi& api_;
  void* data_ = nullptr;
};

/// Random numbers over and over: products of zeros take less power, and run faster, than real ones.
template <typename T>
void fill_random(const Bench& bench, const DeviceMemory& memory) {
  std::vector<T> values(16 * kMiB / sizeof(T) + 1);  // one more, so that rows differ
  std::mt19937_64 draw(7);
  for (T& value : values) value = static_cast<T>(draw() >> 11) * static_cast<T>(0x1p-53);
  const std::size_t piece = values.size() * sizeof(T);
  for (std::size_t at = 0; at < memory.bytes(); at += piece) {
    bench.copy(static_cast<std::byte*>(memory.data()) + at, values.data(),
               std::min(piece, memory.bytes() - at));
  }
  bench.wait();
}

class Blas {
 public:
  explicit Blas(const Bench& bench) : bench_(bench), workspace_(bench, 32 * kMiB) {
    const TesseraCudaApi& api = bench.api();
    check(api, TESSERA_CUDA_BLAS, api.blas_create(&handle_), "blas_create");
    check(api, TESSERA_CUDA_BLAS, api.blas_set_stream(handle_, bench.stream()), "blas_set_stream");
    check(api, TESSERA_CUDA_BLAS,
          api.blas_set_workspace(handle_, workspace_.data(), workspace_.bytes()),
          "blas_set_workspace");
  }
  ~Blas() {
    if (handle_ != nullptr) bench_.api().blas_destroy(handle_);
  }
  Blas(const Blas&) = delete;
  Blas& operator=(const Blas&) = delete;
  void* handle() const { return handle_; }

 private:
  const Bench& bench_;
  DeviceMemory workspace_;
  void* handle_ = nullptr;
};

template <typename T>
Timed time_product(const Bench& bench, int type, std::int64_t n, int repeat) {
  const Blas blas(bench);
  const std::size_t bytes = static_cast<std::size_t>(n * n) * sizeof(T);
  const DeviceMemory a(bench, bytes);
  const DeviceMemory b(bench, bytes);
  const DeviceMemory c(bench, bytes);
  fill_random<T>(bench, a);
  fill_random<T>(bench, b);
  const T one = 1;
  const T zero = 0;
  return bench.time(repeat, [&] {
    check(bench.api(), TESSERA_CUDA_BLAS,
          bench.api().blas_gemm(blas.handle(), type, TESSERA_CUDA_FULL, TESSERA_CUDA_AS_IS,
                                TESSERA_CUDA_AS_IS, n, n, n, &one, a.data(), n, b.data(), n, &zero,
                                c.data(), n),
          "blas_gemm");
  });
}

void measure_copy(const Bench& bench, bool quick, Ceilings& out) {
  const std::size_t bytes = (quick ? 64 : 4096) * kMiB;
  const DeviceMemory from(bench, bytes);
  const DeviceMemory to(bench, bytes);
  fill_random<float>(bench, from);
  const Timed timed = bench.time(10, [&] { bench.copy(to.data(), from.data(), bytes); });
  out.timed["copy"] = timed;
  out.copy_bytes_per_s = 2.0 * static_cast<double>(bytes) / timed.median();
}

void measure_link(const Bench& bench, bool quick, Ceilings& out) {
  const std::size_t bytes = (quick ? 16 : 1024) * kMiB;
  const PinnedMemory host(bench.api(), bytes);
  const DeviceMemory device(bench, bytes);
  const Timed in = bench.time(5, [&] { bench.copy(device.data(), host.data(), bytes); });
  const Timed back = bench.time(5, [&] { bench.copy(host.data(), device.data(), bytes); });
  out.timed["to_device"] = in;
  out.timed["to_host"] = back;
  out.to_device_bytes_per_s = static_cast<double>(bytes) / in.median();
  out.to_host_bytes_per_s = static_cast<double>(bytes) / back.median();
}

void measure_product(const Bench& bench, DType dtype, std::int64_t n, Ceilings& out) {
  const int repeat = n > 20000 ? 2 : 3;
  const Timed timed = dtype == DType::kFloat32
                          ? time_product<float>(bench, TESSERA_CUDA_FLOAT32, n, repeat)
                          : time_product<double>(bench, TESSERA_CUDA_FLOAT64, n, repeat);
  const std::string key = Ceilings::product_key(dtype, n);
  const double extent = static_cast<double>(n);
  out.timed[key] = timed;
  out.product_flops_per_s[key] = 2.0 * extent * extent * extent / timed.median();
}

}  // namespace

double Timed::median() const {
  if (seconds.empty()) return 0.0;
  std::vector<double> sorted = seconds;
  std::sort(sorted.begin(), sorted.end());
  const std::size_t half = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

std::string Ceilings::product_key(DType dtype, std::int64_t n) {
  return core::text(name(dtype), "/", n);
}

double Ceilings::product(DType dtype, std::int64_t n) const {
  const auto same = product_flops_per_s.find(product_key(dtype, n));
  if (same != product_flops_per_s.end()) return same->second;
  double best = 0.0;
  for (const auto& [key, rate] : product_flops_per_s) {
    if (key.starts_with(core::text(name(dtype), "/"))) best = std::max(best, rate);
  }
  return best;
}

Ceilings measure_ceilings(const TesseraCudaApi& api, int device, bool quick,
                          const std::vector<std::int64_t>& extents) {
  Ceilings out;
  const auto attempt = [&](const std::string& what, const std::function<void(const Bench&)>& work) {
    try {
      work(Bench(api, device));
    } catch (const std::exception& error) {
      out.failed[what] = error.what();
    }
  };
  attempt("copy", [&](const Bench& bench) { measure_copy(bench, quick, out); });
  attempt("link", [&](const Bench& bench) { measure_link(bench, quick, out); });
  for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
    for (const std::int64_t n : extents) {
      attempt(Ceilings::product_key(dtype, n),
              [&](const Bench& bench) { measure_product(bench, dtype, n, out); });
    }
  }
  return out;
}

}  // namespace tessera::benchmarks::gpu
