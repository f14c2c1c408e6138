#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

// Threads that live as long as a session and sleep until a job invites them. The pool owns the
// threads and nothing of the work: a job hands out its own tasks and decides how many threads are
// worth waking.

namespace tessera::device {

class WorkerPool {
 public:
  class Job {
   public:
    /// Called on a thread of the pool, numbered from 1; returns when there is nothing left to do
    /// for now. Must not throw.
    virtual void help(int worker) noexcept = 0;

   protected:
    ~Job() = default;
  };

  /// \throws Error when the system refuses a thread.
  explicit WorkerPool(int threads);
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;
  ~WorkerPool();

  int threads() const noexcept { return static_cast<int>(threads_.size()); }
  /// Has up to `count` sleeping threads call job.help(). Each invitation leads to one call.
  void invite(Job& job, int count);
  /// Withdraws invitations that no thread has followed and returns when no thread is inside the
  /// job.
  void dismiss(Job& job);

 private:
  void loop(int worker);
  void stop();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable left_;
  std::deque<Job*> invitations_;
  std::vector<Job*> inside_;  // per thread: the job it works on
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace tessera::device
