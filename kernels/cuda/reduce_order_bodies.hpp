// Reductions that order elements or ask whether they are zero, as monoids. Text for CUDA: included
// by a source behind kernels/cuda/reduce_bodies.hpp, which says what a monoid is.

namespace reduce {

// Order. Bool is ordered as the number that it is stored as.

template <class T>
struct OrderedOf {
  using type = T;
};
template <>
struct OrderedOf<Bool> {
  using type = unsigned char;
};
template <class T>
using Ordered = typename OrderedOf<T>::type;
template <class T>
TESSERA_HD T ordered(T x) {
  return x;
}
TESSERA_HD unsigned char ordered(Bool x) { return raw(x); }

/// What every element improves on or equals.
template <class X, bool kMax>
TESSERA_HD X worst() {
  if constexpr (Floating<X>) {
    return kMax ? -prim::Infinity<X>::value : prim::Infinity<X>::value;
  } else if constexpr (SignedInteger<X>) {
    constexpr X kHighest = static_cast<X>(static_cast<Unsigned<X>>(~Unsigned<X>{0}) >> 1);
    return kMax ? static_cast<X>(-kHighest - 1) : kHighest;
  } else {
    return kMax ? X{0} : static_cast<X>(~X{0});
  }
}
template <bool kMax, class X>
TESSERA_HD bool improves(X x, X best) {
  return kMax ? x > best : x < best;
}

/// Smallest or largest element. Where NaN is skipped, a NaN means "nothing yet", else it wins.
template <class T, bool kMax, bool kSkipNan>
struct Extreme {
  using X = Ordered<T>;
  struct Acc {
    X value;
    bool has;
  };
  using State = Acc;
  static constexpr bool kBlocked = false;

  static TESSERA_HD X nothing() {
    if constexpr (Floating<X> && kSkipNan) return static_cast<X>(nan_value());
    return worst<X, kMax>();
  }
  static TESSERA_HD X better(X a, X b) {
    return improves<kMax>(b, a) | missing(kSkipNan ? a : b) ? b : a;
  }
  static TESSERA_HD State start() { return {nothing(), false}; }
  static TESSERA_HD void add(State& s, T x) {
    s.value = better(s.value, ordered(x));
    s.has = true;
  }
  static TESSERA_HD Acc close(const State& s) {
    return {s.value, s.has && !(kSkipNan && missing(s.value))};
  }
  static TESSERA_HD Acc empty() { return {nothing(), false}; }
  static TESSERA_HD Acc merge(const Acc& a, const Acc& b) {
    const X both = better(a.value, b.value);
    return {!b.has ? a.value : !a.has ? b.value : both, a.has || b.has};
  }
  static TESSERA_HD Acc load(const Planes& p, long long i) {
    return {at<X>(p, 0, i), at<unsigned char>(p, 1, i) != 0};
  }
  static TESSERA_HD void store(const Planes& p, long long i, const Acc& a) {
    at<X>(p, 0, i) = a.value;
    at<unsigned char>(p, 1, i) = a.has ? 1 : 0;
  }
  static TESSERA_HD T finish(const Acc& a, double) {
    if constexpr (Floating<X>) {
      return a.has ? a.value : static_cast<X>(nan_value());
    } else {
      return static_cast<T>(a.value);
    }
  }
};

/// Place of the smallest or largest element: the first NaN (unless skipped), else the best value,
/// among equals the smallest index.
template <class T, bool kMax, bool kSkipNan>
struct Arg {
  using X = Ordered<T>;
  struct Acc {
    X value;
    long long place;  ///< of an accumulator that holds nothing: -1
  };
  using State = Acc;  // the same, but for kNone where there is nothing
  static constexpr bool kBlocked = false;
  // Every index is smaller, so that the first element that counts is taken.
  static constexpr long long kNone = 0x7fffffffffffffffll;

  static TESSERA_HD bool wins(X x, long long index, X best, long long place) {
    const bool nearer = index < place;
    const bool better = improves<kMax>(x, best) | ((x == best) & nearer);
    if constexpr (Floating<X> && !kSkipNan) {
      return (!missing(best) & (better | missing(x))) | (missing(best) & missing(x) & nearer);
    } else {
      return better;
    }
  }
  static TESSERA_HD State start() { return {worst<X, kMax>(), kNone}; }
  static TESSERA_HD void add(State& s, T x, long long index) {
    const X v = ordered(x);
    const bool take = wins(v, index, s.value, s.place);
    s.value = take ? v : s.value;
    s.place = take ? index : s.place;
  }
  static TESSERA_HD Acc close(const State& s) { return {s.value, s.place == kNone ? -1 : s.place}; }
  static TESSERA_HD Acc empty() { return {worst<X, kMax>(), -1}; }
  static TESSERA_HD Acc merge(const Acc& a, const Acc& b) {
    const bool take = b.place >= 0 && (a.place < 0 || wins(b.value, b.place, a.value, a.place));
    return take ? b : a;
  }
  static TESSERA_HD Acc load(const Planes& p, long long i) {
    return {at<X>(p, 0, i), at<long long>(p, 1, i)};
  }
  static TESSERA_HD void store(const Planes& p, long long i, const Acc& a) {
    at<X>(p, 0, i) = a.value;
    at<long long>(p, 1, i) = a.place;
  }
  static TESSERA_HD long long finish(const Acc& a, double) { return a.place; }
};

/// Arg-reductions that skip NaN find nothing where every element is one.
template <class M>
inline constexpr bool kMayFindNone = false;
template <class T, bool kMax>
inline constexpr bool kMayFindNone<Arg<T, kMax, true>> = true;

// NaN is not zero.

template <class T, bool kAny>
struct Truth {
  using State = unsigned char;
  using Acc = unsigned char;
  static constexpr bool kBlocked = false;

  static TESSERA_HD State start() { return kAny ? 0 : 1; }
  static TESSERA_HD void add(State& s, T x) { s = merge(s, truthy(x) ? 1 : 0); }
  static TESSERA_HD Acc close(State s) { return s; }
  static TESSERA_HD Acc empty() { return start(); }
  static TESSERA_HD Acc merge(Acc a, Acc b) { return static_cast<Acc>(kAny ? a | b : a & b); }
  static TESSERA_HD Acc load(const Planes& p, long long i) { return at<Acc>(p, 0, i); }
  static TESSERA_HD void store(const Planes& p, long long i, Acc a) { at<Acc>(p, 0, i) = a; }
  static TESSERA_HD Bool finish(Acc a, double) { return to_bool(a != 0); }
};

template <class T>
struct Count {
  using State = int;
  using Acc = long long;
  static constexpr bool kBlocked = true;

  static TESSERA_HD State start() { return 0; }
  static TESSERA_HD void add(State& s, T x) { s += truthy(x) ? 1 : 0; }
  static TESSERA_HD Acc close(State s) { return s; }
  static TESSERA_HD Acc empty() { return 0; }
  static TESSERA_HD Acc merge(Acc a, Acc b) { return a + b; }
  static TESSERA_HD Acc load(const Planes& p, long long i) { return at<Acc>(p, 0, i); }
  static TESSERA_HD void store(const Planes& p, long long i, Acc a) { at<Acc>(p, 0, i) = a; }
  static TESSERA_HD Acc finish(Acc a, double) { return a; }
};

}  // namespace reduce
