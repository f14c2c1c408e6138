#pragma once

#include <complex>

namespace tessera::kernels::host {

/// a * b rounded on its own. g++ 12 turns alternating sums and differences of products into fused
/// multiply-adds even under -ffp-contract=off; the barrier keeps it from seeing the product.
template <typename T>
[[gnu::always_inline]] inline T rounded_product(T a, T b) {
#if __has_builtin(__builtin_assoc_barrier)
  return __builtin_assoc_barrier(a * b);
#else
  return a * b;
#endif
}

/// Complex product by its definition, as NumPy computes it; std::complex's operator repairs
/// infinities.
template <typename T>
[[gnu::always_inline]] inline std::complex<T> complex_product(std::complex<T> a,
                                                              std::complex<T> b) {
  return {rounded_product(a.real(), b.real()) - rounded_product(a.imag(), b.imag()),
          rounded_product(a.real(), b.imag()) + rounded_product(a.imag(), b.real())};
}

}  // namespace tessera::kernels::host
