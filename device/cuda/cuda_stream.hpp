#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "device/cuda/cuda_system.hpp"

namespace tessera::device::cuda {

/// A stream of one device with two threads: one puts submitted work on the stream, in order, and goes on
/// to the next; the other waits until the work's event fires and says so. They start with the first work.
class CudaStream final : public Stream {
 public:
  CudaStream(CudaSystem& system, std::size_t device) : queue_(system, device) {}
  /// Waits for what was submitted.
  ~CudaStream() override;
  void submit(Work& work) override;

 private:
  // Work that is on the stream, or failed to get there.
  struct InFlight {
    Work* work = nullptr;
    void* event = nullptr;
    std::vector<Buffer> kept;
    std::exception_ptr failure;
  };
  void start_threads();
  void launch_loop();
  void finish_loop();
  InFlight launch(Work& work);
  void finish(InFlight& record);
  void await(void* event) const;
  void* take_event();

  CudaQueue queue_;
  std::mutex mutex_;
  std::condition_variable submitted_;
  std::condition_variable launched_;
  std::deque<Work*> waiting_;
  std::deque<InFlight> in_flight_;
  std::vector<void*> idle_events_;
  bool stopping_ = false;
  bool launching_over_ = false;
  std::thread launcher_;
  std::thread finisher_;
};

/// Streams of one device that take turns, for work none of which waits for another: the end of one kernel and
/// the launch of the next hide behind a third.
class CudaStreams final : public Stream {
 public:
  CudaStreams(CudaSystem& system, std::size_t device) : first_(system, device), second_(system, device) {}
  void submit(Work& work) override { (next_++ % 2 == 0 ? first_ : second_).submit(work); }

 private:
  std::atomic<unsigned> next_{0};
  CudaStream first_;
  CudaStream second_;
};

}  // namespace tessera::device::cuda
