#include "kernels/host/blas_threads.hpp"

#include <cblas.h>

#include "kernels/host/blas_core.hpp"

namespace tessera::kernels::host {
namespace {

// While the library is loaded, when nobody multiplies yet.
[[maybe_unused]] const bool kCoreChosen = choose_blas_core();

// A wide call holds the entry while it waits for the calls under way; a reader-preferring lock
// alone would let a stream of small products starve it.
std::mutex& entry() {
  static std::mutex mutex;
  return mutex;
}

std::shared_mutex& calls() {
  static std::shared_mutex mutex;
  return mutex;
}

}  // namespace

void set_blas_threads_once() {
  static const bool done = [] {
    openblas_set_num_threads(1);
    return true;
  }();
  (void)done;
}

SingleThreadedBlas::SingleThreadedBlas() {
  set_blas_threads_once();
  const std::lock_guard<std::mutex> in(entry());
  lock_ = std::shared_lock(calls());
}

WideBlas::WideBlas(int threads) {
  set_blas_threads_once();
  entry_ = std::unique_lock(entry());
  if (threads <= 1) {
    shared_ = std::shared_lock(calls());
    entry_.unlock();
    return;
  }
  alone_ = std::unique_lock(calls());
  openblas_set_num_threads(threads);
}

WideBlas::~WideBlas() {
  if (alone_.owns_lock()) openblas_set_num_threads(1);
}

}  // namespace tessera::kernels::host
