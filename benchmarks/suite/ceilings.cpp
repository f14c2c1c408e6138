#include "benchmarks/suite/ceilings.hpp"

#include <arpa/inet.h>
#include <cblas.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "benchmarks/floors.hpp"
#include "core/file_system.hpp"
#include "device/host/spill_store.hpp"
#include "tessera/error.hpp"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace tessera::benchmarks {
namespace {

using Json = nlohmann::ordered_json;
using floors::Buffer;

double seconds_of(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// work(begin, end) on each thread's share of `count` elements.
void on_shares(std::int64_t count, const std::function<void(std::int64_t, std::int64_t)>& work) {
  const int threads = floors::thread_count();
  std::vector<std::jthread> helpers;
  for (int t = 0; t < threads; ++t) {
    const std::int64_t begin = count / 64 * t / threads * 64;
    const std::int64_t end = t + 1 == threads ? count : count / 64 * (t + 1) / threads * 64;
    helpers.emplace_back([&work, begin, end] { work(begin, end); });
  }
}

/// Median and all rates of `repeat` runs after one warm-up.
Json rates(double amount, int repeat, const char* unit, const std::function<void()>& work) {
  work();
  std::vector<double> all;
  for (int i = 0; i < repeat; ++i) all.push_back(amount / seconds_of(work));
  std::vector<double> sorted = all;
  std::sort(sorted.begin(), sorted.end());
  return {{"rate", sorted[sorted.size() / 2]}, {"unit", unit}, {"all", all}};
}

/// a[i] = b[i] + 3 c[i], past the caches where the processor can.
void triad(double* a, const double* b, const double* c, std::int64_t count) {
  std::int64_t i = 0;
#if defined(__AVX512F__)
  const __m512d three = _mm512_set1_pd(3.0);
  for (; i + 8 <= count; i += 8) {
    _mm512_stream_pd(a + i, _mm512_fmadd_pd(three, _mm512_loadu_pd(c + i), _mm512_loadu_pd(b + i)));
  }
#endif
  for (; i < count; ++i) a[i] = b[i] + 3.0 * c[i];
}

void write_fresh_pages(std::size_t bytes) {
  void* raw = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) throw OutOfMemory("[ceilings] no memory for fresh pages", bytes, 0, 0);
  on_shares(static_cast<std::int64_t>(bytes), [&](std::int64_t begin, std::int64_t end) {
    std::memset(static_cast<std::byte*>(raw) + begin, 1, static_cast<std::size_t>(end - begin));
  });
  ::munmap(raw, bytes);
}

void memory_ceilings(Json& out, bool quick) {
  const std::int64_t count = std::int64_t{1} << (quick ? 20 : 26);
  const int repeat = quick ? 2 : 5;
  const Buffer a = floors::make_buffer(count);
  const Buffer b = floors::make_buffer(count);
  const Buffer c = floors::make_buffer(count);
  floors::fill(b.get(), count);
  floors::fill(c.get(), count, 1);
  const double bytes = 8.0 * static_cast<double>(count);
  out["copy"] = rates(2.0 * bytes, repeat, "B/s", [&] {
    on_shares(count, [&](std::int64_t begin, std::int64_t end) {
      std::memcpy(a.get() + begin, b.get() + begin, 8 * static_cast<std::size_t>(end - begin));
    });
  });
  out["triad"] = rates(3.0 * bytes, repeat, "B/s", [&] {
    on_shares(count, [&](std::int64_t begin, std::int64_t end) {
      triad(a.get() + begin, b.get() + begin, c.get() + begin, end - begin);
    });
  });
  volatile double sum = 0.0;
  out["read"] = rates(bytes, repeat, "B/s", [&] { sum = floors::sum(b.get(), count); });
  out["fresh_pages"] =
      rates(bytes, repeat, "B/s", [&] { write_fresh_pages(8 * static_cast<std::size_t>(count)); });
}

void product_ceilings(Json& out, bool quick) {
  const std::int64_t n = quick ? 512 : 4096;
  const int m = static_cast<int>(n);
  const int repeat = quick ? 2 : 3;
  const double flops =
      2.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n);
  const Buffer a = floors::make_buffer(n * n);
  const Buffer b = floors::make_buffer(n * n);
  floors::fill(a.get(), n * n);
  out["dgemm"] =
      rates(flops, repeat, "FLOP/s", [&] { floors::product(a.get(), a.get(), n, false, b.get()); });
  const auto x = std::make_unique<float[]>(static_cast<std::size_t>(n * n));
  const auto y = std::make_unique<float[]>(static_cast<std::size_t>(n * n));
  std::copy_n(a.get(), n * n, x.get());
  openblas_set_num_threads(floors::thread_count());
  out["sgemm"] = rates(flops, repeat, "FLOP/s", [&] {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, m, m, 1.0F, x.get(), m, x.get(), m,
                0.0F, y.get(), m);
  });
  openblas_set_num_threads(1);
}

/// As spilling does it: several streams of large pieces, past the page cache.
void disk_ceilings(Json& out, const std::string& folder, bool quick) {
  constexpr std::size_t kPiece = device::SpillStore::kPieceBytes;
  constexpr std::size_t kStreams = device::SpillStore::kStreams;
  const std::size_t bytes = kPiece * kStreams * (quick ? 1 : 64);
  core::File file = core::posix_file_system().create_unnamed(folder);
  const Buffer buffer = floors::make_buffer(static_cast<std::int64_t>(kPiece * kStreams / 8));
  const auto move = [&](const std::function<void(double*, std::size_t)>& piece) {
    std::vector<std::jthread> threads;
    for (std::size_t t = 0; t < kStreams; ++t) {
      threads.emplace_back([&, t] {
        for (std::size_t at = t * kPiece; at < bytes; at += kStreams * kPiece)
          piece(buffer.get() + t * kPiece / 8, at);
      });
    }
  };
  const int repeat = quick ? 2 : 3;
  out["disk_write"] = rates(static_cast<double>(bytes), repeat, "B/s", [&] {
    move([&](double* data, std::size_t at) { file.pwrite_all(data, kPiece, at); });
  });
  out["disk_read"] = rates(static_cast<double>(bytes), repeat, "B/s", [&] {
    move([&](double* data, std::size_t at) { file.pread_all(data, kPiece, at); });
  });
}

/// A socket that is closed with its owner.
struct Socket {
  explicit Socket(int handle) : handle(handle) {
    if (handle < 0) throw CommError("[ceilings] no socket for the loopback link");
  }
  ~Socket() { ::close(handle); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int handle;
};

void loopback_ceiling(Json& out, bool quick) {
  const Socket listener(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* raw = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener.handle, raw, length) != 0 || ::listen(listener.handle, 1) != 0 ||
      ::getsockname(listener.handle, raw, &length) != 0)
    throw CommError("[ceilings] the loopback link takes no connections");
  const Socket to(::socket(AF_INET, SOCK_STREAM, 0));
  if (::connect(to.handle, raw, length) != 0)
    throw CommError("[ceilings] the loopback link does not connect");
  const Socket from(::accept(listener.handle, nullptr, nullptr));
  const std::size_t bytes = std::size_t{1} << (quick ? 22 : 30);
  std::vector<char> outgoing(1 << 20, 1), incoming(1 << 20);
  out["loopback"] = rates(static_cast<double>(bytes), quick ? 2 : 3, "B/s", [&] {
    const std::jthread sender([&] {
      for (std::size_t sent = 0; sent < bytes;) {
        const ssize_t n = ::send(to.handle, outgoing.data(), outgoing.size(), MSG_NOSIGNAL);
        if (n <= 0) return;
        sent += static_cast<std::size_t>(n);
      }
    });
    for (std::size_t got = 0; got < bytes;) {
      const ssize_t n = ::recv(from.handle, incoming.data(), incoming.size(), 0);
      if (n <= 0) throw CommError("[ceilings] the loopback link broke");
      got += static_cast<std::size_t>(n);
    }
  });
}

}  // namespace

Json measure_ceilings(const std::string& folder, bool quick) {
  Json out = Json::object();
  memory_ceilings(out, quick);
  product_ceilings(out, quick);
  disk_ceilings(out, folder, quick);
  loopback_ceiling(out, quick);
  return out;
}

}  // namespace tessera::benchmarks
