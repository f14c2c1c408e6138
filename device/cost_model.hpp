#pragma once

#include <cstddef>

namespace tessera::device {

/// What a modelled device and its links can do; the defaults are one H200 of an eight-GPU node.
struct CostModel {
  double memory_bytes_per_s = 4.3e12;  ///< reads and writes together
  double flops_per_s = 60e12;
  double link_bytes_per_s = 380e9;  ///< device to device
  double host_bytes_per_s = 53e9;   ///< device to host memory, each way
  double disk_bytes_per_s = 6e9;
  double task_overhead_s = 3e-6;

  double task_seconds(double bytes, double flops) const noexcept {
    const double memory = bytes / memory_bytes_per_s;
    const double compute = flops / flops_per_s;
    return task_overhead_s + (memory > compute ? memory : compute);
  }
};

}  // namespace tessera::device
