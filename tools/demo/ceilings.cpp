#include "tools/demo/ceilings.hpp"

#include <cblas.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "core/environment.hpp"

namespace tessera::demo {
namespace {

constexpr std::size_t kElements = std::size_t{1} << 25;  // 256 MiB of doubles
constexpr int kMatrix = 1536;
constexpr int kRepetitions = 5;

// Seconds of the fastest of several runs of `work(thread)` on all threads at once.
double fastest(int threads, const std::function<void(int)>& work) {
  double best = 1e30;
  for (int i = 0; i < kRepetitions; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    {
      std::vector<std::jthread> pool;
      for (int t = 0; t < threads; ++t) pool.emplace_back([&work, t] { work(t); });
    }
    best = std::min(
        best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return best;
}

double sum_of(const double* x, std::size_t n) {
  double lanes[16] = {};
  for (std::size_t i = 0; i + 16 <= n; i += 16) {
    for (std::size_t k = 0; k < 16; ++k) lanes[k] += x[i + k];
  }
  double total = 0.0;
  for (const double lane : lanes) total += lane;
  return total;
}

}  // namespace

Ceilings measure_ceilings() {
  const int threads = core::available_cores();
  const std::size_t part = kElements / static_cast<std::size_t>(threads);
  Ceilings out;
  {
    std::vector<double> from(kElements, 1.0);
    std::vector<double> to(kElements, 0.0);
    const double copy = fastest(threads, [&](int t) {
      const std::size_t begin = part * static_cast<std::size_t>(t);
      std::memcpy(to.data() + begin, from.data() + begin, part * sizeof(double));
    });
    std::atomic<double> total{0.0};
    const double read = fastest(threads, [&](int t) {
      total.store(sum_of(from.data() + part * static_cast<std::size_t>(t), part));
    });
    const double bytes = static_cast<double>(part * sizeof(double)) * threads;
    out.copy_bytes_per_s = 2.0 * bytes / copy;
    out.read_bytes_per_s = bytes / read;
  }
  openblas_set_num_threads(1);
  const std::size_t square = std::size_t{kMatrix} * kMatrix;
  std::vector<std::vector<double>> matrices(static_cast<std::size_t>(threads) * 2,
                                            std::vector<double>(square, 0.5));
  const double product = fastest(threads, [&](int t) {
    double* a = matrices[static_cast<std::size_t>(t) * 2].data();
    double* c = matrices[static_cast<std::size_t>(t) * 2 + 1].data();
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, kMatrix, kMatrix, kMatrix, 1.0, a,
                kMatrix, a, kMatrix, 0.0, c, kMatrix);
  });
  out.flops_per_s = 2.0 * kMatrix * static_cast<double>(square) * threads / product;
  return out;
}

}  // namespace tessera::demo
