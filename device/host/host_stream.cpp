#include "device/host/host_stream.hpp"

#include <pthread.h>

#include <system_error>

#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::device {

HostStream::~HostStream() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    wake_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

void HostStream::submit(Work& work) {
  const std::lock_guard lock(mutex_);
  if (!thread_.joinable()) {
    try {
      thread_ = std::thread([this] { loop(); });
    } catch (const std::system_error& e) {
      throw Error(core::text("[spill] the system must grant a thread for disk transfers; got ",
                             e.what(), "; try a higher limit (ulimit -u)"));
    }
  }
  queue_.push_back(&work);
  wake_.notify_one();
}

void HostStream::loop() {
  ::pthread_setname_np(::pthread_self(), "tessera-disk");
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    Work* work = queue_.front();
    queue_.pop_front();
    lock.unlock();
    Event event;
    try {
      work->run(nullptr);
    } catch (...) {
      event = Event(std::current_exception());
    }
    work->done(event);
    lock.lock();
  }
}

}  // namespace tessera::device
