#include "device/worker_pool.hpp"

#include <pthread.h>

#include <algorithm>
#include <system_error>

#include "core/text.hpp"
#include "tessera/error.hpp"

namespace tessera::device {

WorkerPool::WorkerPool(int threads) : inside_(static_cast<std::size_t>(threads) + 1, nullptr) {
  try {
    for (int i = 1; i <= threads; ++i) threads_.emplace_back([this, i] { loop(i); });
  } catch (const std::system_error& e) {
    const std::size_t started = threads_.size();
    stop();
    throw Error(core::text("[session] the system must grant one thread for each worker; got ",
                           e.what(), " after ", started, " of ", threads,
                           "; try fewer workers or a higher limit (ulimit -u)"));
  }
}

WorkerPool::~WorkerPool() { stop(); }

void WorkerPool::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    wake_.notify_all();
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void WorkerPool::invite(Job& job, int count) {
  const std::lock_guard lock(mutex_);
  for (int i = 0; i < count; ++i) {
    invitations_.push_back(&job);
    wake_.notify_one();
  }
}

void WorkerPool::dismiss(Job& job) {
  std::unique_lock lock(mutex_);
  std::erase(invitations_, &job);
  left_.wait(lock,
             [&] { return std::find(inside_.begin(), inside_.end(), &job) == inside_.end(); });
}

void WorkerPool::loop(int worker) {
  ::pthread_setname_np(::pthread_self(), core::text("tessera-", worker).substr(0, 15).c_str());
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || !invitations_.empty(); });
    if (stopping_) return;
    Job* job = invitations_.front();
    invitations_.pop_front();
    inside_[static_cast<std::size_t>(worker)] = job;
    lock.unlock();
    job->help(worker);
    lock.lock();
    inside_[static_cast<std::size_t>(worker)] = nullptr;
    left_.notify_all();
  }
}

}  // namespace tessera::device
