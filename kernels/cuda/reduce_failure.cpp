#include "kernels/cuda/reduce_failure.hpp"

#include <utility>

#include "core/text.hpp"
#include "kernels/cuda/staged.hpp"
#include "tessera/error.hpp"

namespace tessera::kernels::cuda {

MissingPlaces::MissingPlaces(device::cuda::CudaQueue& queue, std::byte* marks,
                             std::vector<core::ReduceOp> ops)
    : queue_(queue), marks_(marks), ops_(std::move(ops)) {
  queue_.fill(marks_, 0, bytes(ops_.size()));
}

void MissingPlaces::check() const {
  const StagingMemory copy(queue_, bytes(ops_.size()));
  queue_.copy(copy.data(), marks_, bytes(ops_.size()));
  queue_.wait();
  for (std::size_t k = 0; k < ops_.size(); ++k) {
    if (reinterpret_cast<const int*>(copy.data())[k] == 0) continue;
    throw InvalidArgument(core::text("[", name(ops_[k]),
                                     "] every slice must hold a number; got a slice of NaN alone; "
                                     "try where(isnan(x), fill, x) first"));
  }
}

}  // namespace tessera::kernels::cuda
