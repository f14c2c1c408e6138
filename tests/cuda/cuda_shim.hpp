// What CUDA C++ of this project needs to be built by a host compiler and run there: included before the source
// of some kernels, which becomes a shared library of its own (simulated_kernels.cpp appends its entry points). The
// threads of a block are fibres that go on in a given order from barrier to barrier; blocks follow each other. The
// order is not CUDA's, where none is given: what depends on it shows when it changes.

#include <math.h>
#include <ucontext.h>

#include <cstddef>
#include <type_traits>
#include <utility>
#include <vector>

struct ShimIndex {
  unsigned x, y, z;
};
static thread_local ShimIndex threadIdx, blockIdx, blockDim, gridDim;

#define __device__
#define __global__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __shared__ static thread_local
#define __launch_bounds__(...)

inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}

namespace tessera_shim {

enum Status { kOk = 0, kLaunchFailure = 719 };

struct Block;
static thread_local Block* running = nullptr;

// One block's threads.
struct Block {
  void (*kernel)(const void* const*) = nullptr;
  const void* const* parameters = nullptr;
  unsigned order = 0;  // 0: forward, 1: backward, else a seed to shuffle by
  ucontext_t scheduler;
  std::vector<ucontext_t> threads;
  std::vector<char> stacks;
  std::vector<unsigned> turns;
  std::vector<char> ended;
  unsigned current = 0;
  static constexpr unsigned long kStack = 64 << 10;

  static void enter() {
    Block& block = *running;
    block.kernel(block.parameters);
    block.ended[block.current] = 1;
    swapcontext(&block.threads[block.current], &block.scheduler);
  }

  void set_indices(unsigned thread) {
    threadIdx = {thread % blockDim.x, thread / blockDim.x % blockDim.y,
                 thread / blockDim.x / blockDim.y};
  }

  void arrange(unsigned count) {
    threads.resize(count);
    ended.assign(count, 0);
    turns.resize(count);
    if (stacks.size() < count * kStack) stacks.resize(count * kStack);
    for (unsigned i = 0; i < count; ++i) turns[i] = order == 1 ? count - 1 - i : i;
    unsigned state = order;
    for (unsigned i = count; order > 1 && i-- > 1;) {
      state = state * 1664525u + 1013904223u;
      const unsigned other = (state >> 8) % (i + 1);
      const unsigned kept = turns[i];
      turns[i] = turns[other];
      turns[other] = kept;
    }
    for (unsigned i = 0; i < count; ++i) {
      getcontext(&threads[i]);
      threads[i].uc_stack.ss_sp = &stacks[i * kStack];
      threads[i].uc_stack.ss_size = kStack;
      threads[i].uc_link = nullptr;
      makecontext(&threads[i], &Block::enter, 0);
    }
  }

  // A barrier that some threads reach and others never do is an error.
  Status run(unsigned count) {
    arrange(count);
    running = this;
    for (unsigned left = count; left > 0;) {
      unsigned waiting = 0;
      unsigned done = 0;
      for (const unsigned thread : turns) {
        if (ended[thread]) continue;
        current = thread;
        set_indices(thread);
        swapcontext(&scheduler, &threads[thread]);
        (ended[thread] ? done : waiting) += 1;
      }
      if (waiting > 0 && done > 0) return kLaunchFailure;
      left -= done;
    }
    return kOk;
  }
};

inline void barrier() {
  Block& block = *running;
  const unsigned thread = block.current;
  swapcontext(&block.threads[thread], &block.scheduler);
}

/// Bytes of parameter number i, 0 beyond the last.
template <class... P>
unsigned long size_of(void (*)(P...), unsigned i) {
  const unsigned long sizes[] = {sizeof(P)..., 0};
  return i < sizeof...(P) ? sizes[i] : 0;
}
template <class... P, std::size_t... I>
void call_with(void (*kernel)(P...), const void* const* parameters, std::index_sequence<I...>) {
  kernel(*static_cast<const std::remove_cv_t<P>*>(parameters[I])...);
}
template <class... P>
void call(void (*kernel)(P...), const void* const* parameters) {
  call_with(kernel, parameters, std::index_sequence_for<P...>());
}

inline Status run(void (*kernel)(const void* const*), bool barriers, const unsigned* grid,
                  const unsigned* block, const void* const* parameters, unsigned order) {
  gridDim = {grid[0], grid[1], grid[2]};
  blockDim = {block[0], block[1], block[2]};
  const unsigned count = block[0] * block[1] * block[2];
  Block fibres;
  fibres.kernel = kernel;
  fibres.parameters = parameters;
  fibres.order = order;
  const unsigned long blocks = 1ul * grid[0] * grid[1] * grid[2];
  for (unsigned long i = 0; i < blocks; ++i) {
    const unsigned long b = order == 1 ? blocks - 1 - i : i;
    blockIdx = {static_cast<unsigned>(b % grid[0]), static_cast<unsigned>(b / grid[0] % grid[1]),
                static_cast<unsigned>(b / grid[0] / grid[1])};
    if (barriers) {
      const Status status = fibres.run(count);
      if (status != kOk) return status;
      continue;
    }
    for (unsigned t = 0; t < count; ++t) {
      fibres.set_indices(order == 1 ? count - 1 - t : t);
      kernel(parameters);
    }
  }
  return kOk;
}

}  // namespace tessera_shim

// Threads follow each other.
template <class T>
T atomicAdd(T* to, T value) {
  const T before = *to;
  *to += value;
  return before;
}
#define __syncthreads tessera_shim::barrier
