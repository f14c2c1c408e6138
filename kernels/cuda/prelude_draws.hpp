// Text of CUDA C++, after the bodies: draws of random numbers. A sampler holds what a kernel is
// told of a distribution, in the layout that pack_params() writes, and makes the numbers of
// elements 2 pair and 2 pair + 1, whose bits are the host's (kernels/host/random_host.cpp).

template <class T>
struct Two {
  T even, odd;
};

// body::random_pair() on 32-bit words: a device multiplies those into 64 bits in one instruction,
// and would take several for the 64-bit lanes that suit a host.
TESSERA_HD body::RandomPair<unsigned long long> random_pair(body::PhiloxKey key,
                                                            unsigned long long pair,
                                                            unsigned int draw) {
  unsigned int word[4] = {static_cast<unsigned int>(pair), static_cast<unsigned int>(pair >> 32),
                          draw, 0};
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const unsigned long long first = static_cast<unsigned long long>(word[0]) * 0xd2511f53u;
    const unsigned long long second = static_cast<unsigned long long>(word[2]) * 0xcd9e8d57u;
    word[0] = static_cast<unsigned int>(second >> 32) ^ word[1] ^ key.low;
    word[1] = static_cast<unsigned int>(second);
    word[2] = static_cast<unsigned int>(first >> 32) ^ word[3] ^ key.high;
    word[3] = static_cast<unsigned int>(first);
    key.low += 0x9e3779b9u;
    key.high += 0xbb67ae85u;
  }
  return {word[0] | static_cast<unsigned long long>(word[1]) << 32,
          word[2] | static_cast<unsigned long long>(word[3]) << 32};
}

template <class T>
struct Uniform {
  body::PhiloxKey key;
  double low, width;
  alignas(8) T last;
  TESSERA_HD Two<T> operator()(unsigned long long pair) const {
    const body::RandomPair<unsigned long long> bits = random_pair(key, pair, 0);
    if constexpr (sizeof(T) == 8) {
      return {body::uniform_double(bits.even, low, width, last),
              body::uniform_double(bits.odd, low, width, last)};
    } else {
      return {body::uniform_float(bits.even, low, width, last),
              body::uniform_float(bits.odd, low, width, last)};
    }
  }
};

template <class T>
struct Normal {
  body::PhiloxKey key;
  double mean, deviation;
  TESSERA_HD Two<T> operator()(unsigned long long pair) const {
    const body::RandomPair<unsigned long long> bits = random_pair(key, pair, 0);
    const body::NormalPair x = body::normal_pair(bits.even, bits.odd);
    return {static_cast<T>(prim::fma(x.even, deviation, mean)),
            static_cast<T>(prim::fma(x.odd, deviation, mean))};
  }
};

template <class T>
struct Exponential {
  body::PhiloxKey key;
  double scale;
  TESSERA_HD Two<T> operator()(unsigned long long pair) const {
    const body::RandomPair<unsigned long long> bits = random_pair(key, pair, 0);
    return {static_cast<T>(body::exponential(bits.even) * scale),
            static_cast<T>(body::exponential(bits.odd) * scale)};
  }
};

template <class T>
struct Integers {
  body::PhiloxKey key;
  unsigned long long low, range, threshold;
  TESSERA_HD T value(unsigned long long x) const { return static_cast<T>(low + x); }
  // Draws again until neither of the two is rejected; one that was accepted stays.
  TESSERA_HD Two<T> operator()(unsigned long long pair) const {
    unsigned long long x = 0;
    unsigned long long y = 0;
    bool keep_even = false;
    bool keep_odd = false;
#pragma unroll 1
    for (unsigned int draw = 0; !(keep_even & keep_odd); ++draw) {
      const body::RandomPair<unsigned long long> bits = random_pair(key, pair, draw);
      if (!keep_even) keep_even = body::bounded(bits.even, range, threshold, x);
      if (!keep_odd) keep_odd = body::bounded(bits.odd, range, threshold, y);
    }
    return {value(x), value(y)};
  }
};
template <>
TESSERA_HD Bool Integers<Bool>::value(unsigned long long x) const {
  return body::to_bool(low + x != 0);
}

/// The last pair drawn: elements in a row find their neighbour's number here. No element has pair
/// ~0.
template <class T>
struct Draw {
  unsigned long long pair = ~0ull;
  Two<T> two;
};
template <class T, class Sampler>
TESSERA_HD T draw(const Sampler& sampler, Draw<T>& last, long long element) {
  const unsigned long long pair = static_cast<unsigned long long>(element) >> 1;
  if (pair != last.pair) {
    last.pair = pair;
    last.two = sampler(pair);
  }
  return (element & 1) != 0 ? last.two.odd : last.two.even;
}
