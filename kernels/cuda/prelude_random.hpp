// Text of CUDA C++: what kernels/philox.hpp and kernels/sampler_bodies.hpp need, exact on integers.

namespace prim {

TESSERA_HD unsigned long long multiply_low32(unsigned long long w, unsigned int m) {
  return (w & 0xffffffffull) * m;
}
TESSERA_HD unsigned long long multiply_high(unsigned long long a, unsigned long long b) {
  return __umul64hi(a, b);
}
// Exact for x < 2^53.
TESSERA_HD double unit53_to_double(unsigned long long x) {
  return static_cast<double>(static_cast<long long>(x));
}

}  // namespace prim
