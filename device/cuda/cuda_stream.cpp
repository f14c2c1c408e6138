#include "device/cuda/cuda_stream.hpp"

#include <pthread.h>

#include <chrono>
#include <system_error>
#include <utility>

#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::device::cuda {

namespace {
// How long the finishing thread looks before it sleeps: being woken takes some 20 us. A question takes a
// lock of the driver's that launches need, too, so there is a pause between two.
constexpr std::chrono::microseconds kLookFor{100};
constexpr std::chrono::microseconds kPause{4};
}  // namespace

CudaStream::~CudaStream() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    submitted_.notify_one();
  }
  if (launcher_.joinable()) launcher_.join();
  if (finisher_.joinable()) finisher_.join();
  for (void* event : idle_events_) queue_.api().event_destroy(event);
}

void CudaStream::submit(Work& work) {
  const std::lock_guard lock(mutex_);
  if (!launcher_.joinable()) start_threads();
  waiting_.push_back(&work);
  submitted_.notify_one();
}

void CudaStream::start_threads() {
  try {
    if (!finisher_.joinable()) finisher_ = std::thread([this] { finish_loop(); });
    launcher_ = std::thread([this] { launch_loop(); });
  } catch (const std::system_error& e) {
    throw Error(core::text("[cuda] the system must grant two threads for a stream; got ", e.what(),
                           "; try a higher limit (ulimit -u)"));
  }
}

void CudaStream::launch_loop() {
  ::pthread_setname_np(::pthread_self(), "tessera-launch");
  std::unique_lock lock(mutex_);
  for (;;) {
    submitted_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    if (waiting_.empty()) break;
    Work* work = waiting_.front();
    waiting_.pop_front();
    lock.unlock();
    InFlight record = launch(*work);
    lock.lock();
    in_flight_.push_back(std::move(record));
    launched_.notify_one();
  }
  launching_over_ = true;
  launched_.notify_one();
}

CudaStream::InFlight CudaStream::launch(Work& work) {
  InFlight record;
  record.work = &work;
  try {
    queue_.enter();
    work.run(&queue_);
  } catch (...) {
    record.failure = std::current_exception();
  }
  record.kept = queue_.take_kept();
  // What was queued before a failure still runs, so its end is waited for, too.
  try {
    record.event = take_event();
    const TesseraCudaApi& api = queue_.api();
    check(api, TESSERA_CUDA_RUNTIME, api.event_record(record.event, queue_.stream()),
          "event_record");
  } catch (...) {
    if (!record.failure) record.failure = std::current_exception();
  }
  return record;
}

void* CudaStream::take_event() {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_events_.empty()) {
      void* event = idle_events_.back();
      idle_events_.pop_back();
      return event;
    }
  }
  void* event = nullptr;
  const TesseraCudaApi& api = queue_.api();
  check(api, TESSERA_CUDA_RUNTIME,
        api.event_create(queue_.system().devices()[queue_.device()].id.number, &event),
        "event_create");
  return event;
}

void CudaStream::finish_loop() {
  ::pthread_setname_np(::pthread_self(), "tessera-finish");
  std::unique_lock lock(mutex_);
  for (;;) {
    launched_.wait(lock, [this] { return launching_over_ || !in_flight_.empty(); });
    if (in_flight_.empty()) return;
    InFlight record = std::move(in_flight_.front());
    in_flight_.pop_front();
    lock.unlock();
    finish(record);
    lock.lock();
    if (record.event != nullptr) idle_events_.push_back(record.event);
  }
}

void CudaStream::finish(InFlight& record) {
  try {
    if (record.event != nullptr) {
      await(record.event);
    } else {
      const TesseraCudaApi& api = queue_.api();
      check(api, TESSERA_CUDA_RUNTIME, api.stream_synchronize(queue_.stream()),
            "stream_synchronize");
    }
  } catch (...) {
    if (!record.failure) record.failure = std::current_exception();
  }
  record.kept.clear();
  record.work->done(Event(record.failure));
}

void CudaStream::await(void* event) const {
  const TesseraCudaApi& api = queue_.api();
  const auto begin = std::chrono::steady_clock::now();
  for (;;) {
    const int status = api.event_query(event);
    if (status == TESSERA_CUDA_OK) return;
    if (status != TESSERA_CUDA_NOT_READY) check(api, TESSERA_CUDA_RUNTIME, status, "event_query");
    const auto asked = std::chrono::steady_clock::now();
    if (asked - begin > kLookFor) break;
    while (std::chrono::steady_clock::now() - asked < kPause) std::this_thread::yield();
  }
  check(api, TESSERA_CUDA_RUNTIME, api.event_synchronize(event), "event_synchronize");
}

}  // namespace tessera::device::cuda
