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
  double network_bytes_per_s = 50e9;  ///< of a node, each way: 400 Gb/s
  double network_latency_s = 5e-6;    ///< of a message between nodes

  double task_seconds(double bytes, double flops) const noexcept {
    const double memory = bytes / memory_bytes_per_s;
    const double compute = flops / flops_per_s;
    return task_overhead_s + (memory > compute ? memory : compute);
  }
};

}  // namespace tessera::device
