#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/program.hpp"

// Fused programs as CUDA C++ text, for NVRTC and, with a small shim, for a host compiler. The text
// includes nothing, and no number of the program stands in it: constants, seeds and parameters of
// draws are fields of the kernels' parameters, so that programs which differ in them only share one
// kernel. Owned here: what a point of the iteration space computes, and how parameters lie in
// memory. Not owned: which thread computes which point (program_map.*, reduce_*).
//
// What program_source() defines, for a program of rank R (arrays have at least one element):
//   the prelude       lane types (Bool, Half, BFloat16, Complex<T>), namespaces prim and body
//   struct Constants  constants and parameters of draws
//   struct Operands   what a point reads: l<slot> of loads in their lane type, i<slot> of indices
//   struct Draws      the last pair of random numbers of each kRandom; starts as Draws{}
//   struct Values     s<k> of stores, r<k> and n<k> (long long, where there is one) of reductions
//   void compute(const Constants&, const Operands&, Draws&, Values&)
//                     neighbours in a row, 2e and 2e + 1, share one draw through Draws
//   struct Params     n[R], then pointers and strides (in elements) of loads, bases and strides of
//                     indices, pointers and strides of stores, and `constants`
//   void fetch(const Params&, const long long (&c)[R], Operands&)
//   void evaluate(const Params&, const long long (&c)[R], Values&)
//   void evaluate(const Params&, const long long (&c)[R], Draws&, Values&)
//   void write_stores(const Params&, const long long (&c)[R], const Values&)
// Names of fields and functions are these; everything else in the text may change.

namespace tessera::kernels::cuda {

/// Where an operand lies: first element in device memory, and strides in elements over the
/// iteration space.
struct SourceOperand {
  const std::byte* data = nullptr;
  std::span<const std::int64_t> strides;
};

/// base + sum(strides[d] * coordinate[d]), modulo 2^64.
struct SourceIndex {
  std::int64_t base = 0;
  std::span<const std::int64_t> strides;
};

/// One launch's operands, as many as the program has.
struct SourceArgs {
  std::span<const std::int64_t> shape;
  std::span<const SourceOperand> loads;
  std::span<const SourceIndex> indices;
  std::span<const SourceOperand> stores;
};

/// Prelude and definitions, ready for kernels to be appended.
std::string program_source(const Program& program);

/// The bytes of a `Params`: what the kernel's parameter of that type is given.
std::vector<std::byte> pack_params(const Program& program, const SourceArgs& args);

/// The type of an element of `dtype` in the text: "double", "Complex<float>".
std::string_view lane_type(DType dtype) noexcept;

/// Options that every source is compiled with, without the architecture.
std::span<const char* const> compile_options() noexcept;

}  // namespace tessera::kernels::cuda
