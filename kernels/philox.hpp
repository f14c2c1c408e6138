// Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC
// 2011) and how the engine numbers its draws. Included by a backend inside its own namespace, as
// kernels/scalar_bodies.hpp; prim::multiply_low32(w, m) must be the 64-bit product of the low
// halves.
//
// Draw of element e in a stream of (seed, distribution):
//   key      philox_key(seed, distribution), 64 bits
//   counter  words 0, 1: e / 2 (low, high half); word 2: draw, 0 but for redraws after a rejection;
//            word 3: tag, 0
//   bits     an even e takes output words 0 (low) and 1 (high), an odd e words 2 and 3
// Two neighbours thus share one evaluation, and an element's bits depend on nothing else.

struct PhiloxKey {
  unsigned int low, high;
};

/// A bijection of the seed for each distribution (the finaliser of SplitMix64), so that streams
/// with neighbouring seeds or different distributions have unrelated keys.
TESSERA_HD PhiloxKey philox_key(unsigned long long seed, unsigned int distribution) {
  unsigned long long x = seed + 0x9e3779b97f4a7c15ull * (distribution + 1ull);
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  x ^= x >> 31;
  return {static_cast<unsigned int>(x), static_cast<unsigned int>(x >> 32)};
}

/// Words in the low halves of 64-bit lanes; what stands in the high halves is unspecified.
template <class W>
struct PhiloxBlock {
  W word[4];
};

/// Ten rounds. W is unsigned long long or a vector of them.
template <class W>
TESSERA_HD PhiloxBlock<W> philox(PhiloxBlock<W> block, PhiloxKey key) {
  for (int round = 0; round < 10; ++round) {
    const W first = prim::multiply_low32(block.word[0], 0xd2511f53u);
    const W second = prim::multiply_low32(block.word[2], 0xcd9e8d57u);
    block.word[0] = (second >> 32) ^ block.word[1] ^ key.low;
    block.word[1] = second;
    block.word[2] = (first >> 32) ^ block.word[3] ^ key.high;
    block.word[3] = first;
    key.low += 0x9e3779b9u;
    key.high += 0xbb67ae85u;
  }
  return block;
}

/// The 64 random bits of the elements 2 pair and 2 pair + 1.
template <class W>
struct RandomPair {
  W even, odd;
};
template <class W>
TESSERA_HD RandomPair<W> random_pair(PhiloxKey key, W pair, unsigned int draw) {
  const W zero = pair ^ pair;
  const PhiloxBlock<W> block = philox(PhiloxBlock<W>{{pair, pair >> 32, zero + draw, zero}}, key);
  return {(block.word[0] & 0xffffffffull) | (block.word[1] << 32),
          (block.word[2] & 0xffffffffull) | (block.word[3] << 32)};
}
