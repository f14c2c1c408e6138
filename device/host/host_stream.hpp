#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "device/device.hpp"

namespace tessera::device {

/// One thread that does what is submitted, in order. The thread starts with the first work.
class HostStream final : public Stream {
 public:
  HostStream() = default;
  /// Waits for what was submitted.
  ~HostStream() override;
  void submit(Work& work) override;

 private:
  void loop();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Work*> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace tessera::device
