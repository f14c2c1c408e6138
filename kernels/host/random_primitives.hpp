// Primitives of the random draws: exact on integers. Included once per SIMD target, inside its
// namespace.

namespace prim {

inline unsigned long long multiply_low32(unsigned long long w, unsigned int m) {
  return (w & 0xffffffffull) * m;
}
#if HWY_TARGET == HWY_AVX3
typedef unsigned long long Words __attribute__((vector_size(64)));
inline Words multiply_low32(Words w, unsigned int m) {
  return reinterpret_cast<Words>(
      _mm512_mul_epu32(reinterpret_cast<__m512i>(w), _mm512_set1_epi64(static_cast<long long>(m))));
}
#elif HWY_TARGET == HWY_AVX2
typedef unsigned long long Words __attribute__((vector_size(32)));
inline Words multiply_low32(Words w, unsigned int m) {
  return reinterpret_cast<Words>(_mm256_mul_epu32(reinterpret_cast<__m256i>(w),
                                                  _mm256_set1_epi64x(static_cast<long long>(m))));
}
#else
using Words = unsigned long long;
#endif

inline unsigned long long multiply_high(unsigned long long a, unsigned long long b) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<unsigned long long>(static_cast<Wide>(a) * b >> 64);
}

// Exact for x < 2^53. Before AVX-512 there is no vector conversion of 64-bit integers.
inline double unit53_to_double(unsigned long long x) {
#if HWY_TARGET == HWY_AVX3
  return static_cast<double>(static_cast<long long>(x));
#else
  const double high = from_bits((x >> 32) | 0x4330000000000000ull) - 0x1p52;
  const double low = from_bits((x & 0xffffffffull) | 0x4330000000000000ull) - 0x1p52;
  return high * 0x1p32 + low;
#endif
}

}  // namespace prim
