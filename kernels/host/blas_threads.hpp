#pragma once

#include <mutex>
#include <shared_mutex>

// How many threads OpenBLAS uses. The library has one setting for the whole process, and another
// count gives other bits, so calls with one thread and calls with several never overlap. Private to
// the files that call the library.

namespace tessera::kernels::host {

/// Sets OpenBLAS to one thread per call, the first time it is called in this process.
void set_blas_threads_once();

/// Held during calls that run on the calling thread alone; any number of threads may hold one.
class SingleThreadedBlas {
 public:
  SingleThreadedBlas();

 private:
  std::shared_lock<std::shared_mutex> lock_;
};

/// Held during calls that run on `threads` threads: waits until no other call is under way, keeps
/// new ones waiting, and goes back to one thread. With one thread the same as SingleThreadedBlas.
class WideBlas {
 public:
  explicit WideBlas(int threads);
  ~WideBlas();
  WideBlas(const WideBlas&) = delete;
  WideBlas& operator=(const WideBlas&) = delete;

 private:
  std::unique_lock<std::mutex> entry_;
  std::unique_lock<std::shared_mutex> alone_;
  std::shared_lock<std::shared_mutex> shared_;
};

}  // namespace tessera::kernels::host
