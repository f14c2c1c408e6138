#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "kernels/registry.hpp"
#include "tessera/error.hpp"

namespace tessera::kernels {

/// The host's kernels, of which the n-th call (from 1) throws or does something else first: an odd
/// one before it has done anything, an even one when all is done.
class FailingRegistry final : public Registry {
 public:
  std::unique_ptr<TaskKernel> prepare(const TaskSpec& spec) const override {
    return std::make_unique<Kernel>(host_registry().prepare(spec), *this);
  }
  std::size_t scratch_bytes(const TaskSpec& spec) const override {
    return host_registry().scratch_bytes(spec);
  }
  /// The n-th call from now on throws.
  void fail_at(std::uint64_t nth) {
    call_at(nth, [] { throw LibraryError("[test] the kernel broke"); });
  }
  /// The n-th call from now on makes this call.
  void call_at(std::uint64_t nth, std::function<void()> call) {
    calls_ = 0;
    nth_ = nth;
    call_ = std::move(call);
  }
  std::uint64_t calls() const { return calls_; }

 private:
  struct Kernel final : TaskKernel {
    Kernel(std::unique_ptr<TaskKernel> real, const FailingRegistry& registry)
        : real(std::move(real)), registry(registry) {}
    void run(const TaskArgs& args) const override {
      const std::uint64_t number = ++registry.calls_;
      const bool hit = number == registry.nth_;
      if (hit && number % 2 == 1) registry.call_();
      real->run(args);
      if (hit && number % 2 == 0) registry.call_();
    }
    std::unique_ptr<TaskKernel> real;
    const FailingRegistry& registry;
  };

  std::function<void()> call_;
  std::atomic<std::uint64_t> nth_{0};
  mutable std::atomic<std::uint64_t> calls_{0};
};

}  // namespace tessera::kernels
