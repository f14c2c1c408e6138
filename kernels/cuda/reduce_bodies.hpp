// Reductions as monoids, one struct for each family, templated over the lane type. Text for CUDA:
// included by a source behind the prelude of program_source.hpp, under the rules of
// kernels/scalar_bodies.hpp.
//
// A monoid M has
//   State, start(), add(state, x[, index])
//     what a thread folds elements into
//   prepare(state, x)
//     optional: x is the next element; called where a state may be empty
//   Acc, close(state), empty(), merge(a, b)
//     an accumulator
//   load(planes, i), store(planes, i, acc)
//     accumulators as core::accumulator_dtypes() lays them out
//   finish(acc, ddof)
//     the value, in the dtype that accumulators yield
//   kBlocked
//     whether a state takes in few elements (kBlockElements) for the sake of its error or range,
//     and is closed and merged then
//
// Sums add at most kBlockElements numbers one after the other; what they come to is merged in turn,
// so that the error does not grow with the length. Integers wrap.

namespace reduce {

using namespace body;

/// Component planes of accumulators.
struct Planes {
  unsigned char* plane[3];
};
template <class T>
TESSERA_HD T& at(const Planes& planes, int plane, long long i) {
  return reinterpret_cast<T*>(planes.plane[plane])[i];
}

template <class T>
struct WideOf {
  using type = unsigned long long;
};
template <Floating T>
struct WideOf<T> {
  using type = double;
};
template <class T>
struct WideOf<Complex<T>> {
  using type = Complex<double>;
};
/// What elements are added up and multiplied in.
template <class T>
using Wide = typename WideOf<T>::type;

template <Integer T>
TESSERA_HD unsigned long long widen(T x) {
  if constexpr (SignedInteger<T>) {
    return static_cast<unsigned long long>(static_cast<long long>(x));
  } else {
    return static_cast<unsigned long long>(x);
  }
}
TESSERA_HD unsigned long long widen(Bool x) { return raw(x); }
template <Floating T>
TESSERA_HD double widen(T x) {
  return static_cast<double>(x);
}
template <class T>
TESSERA_HD Complex<double> widen(Complex<T> x) {
  return {static_cast<double>(x.re), static_cast<double>(x.im)};
}

/// Whether a wide number of elements of type T has the sign of a long long.
template <class T>
inline constexpr bool kIsSigned = false;
template <>
inline constexpr bool kIsSigned<Bool> = true;
template <SignedInteger T>
inline constexpr bool kIsSigned<T> = true;

template <class T>
TESSERA_HD double to_double(T x) {
  if constexpr (Floating<T>) {
    return static_cast<double>(x);
  } else if constexpr (kIsSigned<T>) {
    return static_cast<double>(static_cast<long long>(widen(x)));
  } else {
    return static_cast<double>(widen(x));
  }
}

template <class T>
TESSERA_HD bool missing(T) {
  return false;
}
template <Floating T>
TESSERA_HD bool missing(T x) {
  return x != x;
}
template <class T>
TESSERA_HD bool missing(Complex<T> x) {
  return (x.re != x.re) | (x.im != x.im);
}

TESSERA_HD unsigned long long plus(unsigned long long a, unsigned long long b) { return a + b; }
TESSERA_HD double plus(double a, double b) { return a + b; }
TESSERA_HD Complex<double> plus(Complex<double> a, Complex<double> b) {
  return {a.re + b.re, a.im + b.im};
}
TESSERA_HD unsigned long long times(unsigned long long a, unsigned long long b) { return a * b; }
TESSERA_HD double times(double a, double b) { return a * b; }
// The plain formula: infinities are not rescued, as on the host.
TESSERA_HD Complex<double> times(Complex<double> a, Complex<double> b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
TESSERA_HD double nan_value() { return prim::from_bits(0x7ff8000000000000ull); }

/// A wide number as the dtype of its plane.
template <class T>
TESSERA_HD auto handed_on(Wide<T> x) {
  if constexpr (kIsSigned<T>) {
    return static_cast<long long>(x);
  } else {
    return x;
  }
}

inline constexpr int kBlockElements = 128;
template <class W>
inline constexpr bool kRounds = true;
template <>
inline constexpr bool kRounds<unsigned long long> = false;

template <class T, bool kSkipNan>
struct Sum {
  using State = Wide<T>;
  using Acc = Wide<T>;
  static constexpr bool kBlocked = kRounds<Acc>;

  static TESSERA_HD State start() { return State{}; }
  static TESSERA_HD void add(State& s, T x) {
    s = plus(s, kSkipNan && missing(x) ? Acc{} : widen(x));
  }
  static TESSERA_HD Acc close(const State& s) { return s; }
  static TESSERA_HD Acc empty() { return Acc{}; }
  static TESSERA_HD Acc merge(Acc a, Acc b) { return plus(a, b); }
  static TESSERA_HD Acc load(const Planes& p, long long i) { return at<Acc>(p, 0, i); }
  static TESSERA_HD void store(const Planes& p, long long i, Acc a) { at<Acc>(p, 0, i) = a; }
  static TESSERA_HD auto finish(Acc a, double) { return handed_on<T>(a); }
};

/// Products. Grouped as sums, so that their bits do not depend on which reductions share a pass
/// with them.
template <class T, bool kSkipNan>
struct Product {
  using State = Wide<T>;
  using Acc = Wide<T>;
  static constexpr bool kBlocked = kRounds<Acc>;

  static TESSERA_HD Acc one() {
    if constexpr (kRounds<Acc> && !Floating<Acc>) {
      return Acc{1.0, 0.0};
    } else {
      return Acc(1);
    }
  }
  static TESSERA_HD State start() { return one(); }
  static TESSERA_HD void add(State& s, T x) {
    s = times(s, kSkipNan && missing(x) ? one() : widen(x));
  }
  static TESSERA_HD Acc close(const State& s) { return s; }
  static TESSERA_HD Acc empty() { return one(); }
  static TESSERA_HD Acc merge(Acc a, Acc b) { return times(a, b); }
  static TESSERA_HD Acc load(const Planes& p, long long i) { return at<Acc>(p, 0, i); }
  static TESSERA_HD void store(const Planes& p, long long i, Acc a) { at<Acc>(p, 0, i) = a; }
  static TESSERA_HD auto finish(Acc a, double) { return handed_on<T>(a); }
};

/// What means are added up in. Sums of narrow integers stay exact until they are handed on.
template <class T>
struct MeanOf {
  using type = double;
};
template <Integer T>
requires(sizeof(T) <= 4) struct MeanOf<T> {
  using type = unsigned long long;
};
template <>
struct MeanOf<Bool> {
  using type = unsigned long long;
};
template <class T>
struct MeanOf<Complex<T>> {
  using type = Complex<double>;
};
/// Means and deviations: double, or Complex<double>, whose parts are numbers of their own.
template <class T>
struct CentreOf {
  using type = double;
};
template <class T>
struct CentreOf<Complex<T>> {
  using type = Complex<double>;
};
template <class T>
using Centre = typename CentreOf<T>::type;

template <class T>
TESSERA_HD double to_centre(T x) {
  return to_double(x);
}
template <class T>
TESSERA_HD Complex<double> to_centre(Complex<T> x) {
  return widen(x);
}
TESSERA_HD double minus(double a, double b) { return a - b; }
TESSERA_HD Complex<double> minus(Complex<double> a, Complex<double> b) {
  return {a.re - b.re, a.im - b.im};
}
TESSERA_HD double scaled(double a, double by) { return a * by; }
TESSERA_HD Complex<double> scaled(Complex<double> a, double by) { return {a.re * by, a.im * by}; }
TESSERA_HD double over(double a, double by) { return a / by; }
TESSERA_HD Complex<double> over(Complex<double> a, double by) { return {a.re / by, a.im / by}; }
/// Products of equal parts, added up.
TESSERA_HD double dot(double a, double b) { return a * b; }
TESSERA_HD double dot(Complex<double> a, Complex<double> b) { return a.re * b.re + a.im * b.im; }

template <class T, bool kSkipNan>
struct Mean {
  using Exact = typename MeanOf<T>::type;
  struct State {
    Exact sum;
    int count;
  };
  struct Acc {
    long long count;
    Centre<T> sum;
  };
  static constexpr bool kBlocked = true;

  static TESSERA_HD State start() { return {Exact{}, 0}; }
  static TESSERA_HD void add(State& s, T x) {
    const bool skip = kSkipNan && missing(x);
    if constexpr (kRounds<Exact>) {
      s.sum = plus(s.sum, skip ? Exact{} : to_centre(x));
    } else {
      s.sum = plus(s.sum, widen(x));
    }
    s.count += skip ? 0 : 1;
  }
  static TESSERA_HD Acc close(const State& s) {
    if constexpr (kRounds<Exact>) {
      return {s.count, s.sum};
    } else {
      return {s.count, static_cast<double>(handed_on<T>(s.sum))};
    }
  }
  static TESSERA_HD Acc empty() { return {0, Centre<T>{}}; }
  static TESSERA_HD Acc merge(const Acc& a, const Acc& b) {
    return {a.count + b.count, plus(a.sum, b.sum)};
  }
  static TESSERA_HD Acc load(const Planes& p, long long i) {
    return {at<long long>(p, 0, i), at<Centre<T>>(p, 1, i)};
  }
  static TESSERA_HD void store(const Planes& p, long long i, const Acc& a) {
    at<long long>(p, 0, i) = a.count;
    at<Centre<T>>(p, 1, i) = a.sum;
  }
  static TESSERA_HD Centre<T> finish(const Acc& a, double) {
    return over(a.sum, static_cast<double>(a.count));
  }
};

/// Count, mean and sum of squared deviations in one pass. The first element of a state is its shift
/// s; sums of d = x - s and of d^2 give the moments. With n elements the true m2 is at least (s -
/// mean)^2, so that cancellation costs at most a factor n + 1 in relative error, whatever the data.
/// Accumulators combine by Chan, Golub and LeVeque (1979). Squares of finite deviations that
/// overflow make m2 infinite; only an infinite element makes it NaN, as its deviation is.
template <class T, bool kSkipNan>
struct Moments {
  using C = Centre<T>;
  struct State {
    C shift, d1;
    double d2;
    int count;
  };
  struct Acc {
    long long count;
    C mean;
    double m2;
  };
  static constexpr bool kBlocked = true;

  static TESSERA_HD State start() { return {C{}, C{}, 0.0, 0}; }
  static TESSERA_HD void prepare(State& s, T x) requires(!kSkipNan) {
    if (s.count == 0) s.shift = to_centre(x);
  }
  static TESSERA_HD void add(State& s, T x) {
    const C v = to_centre(x);
    const bool skip = kSkipNan && missing(x);
    if constexpr (kSkipNan) s.shift = s.count == 0 && !skip ? v : s.shift;
    const C d = skip ? C{} : minus(v, s.shift);
    s.d1 = plus(s.d1, d);
    s.d2 += dot(d, d);
    s.count += skip ? 0 : 1;
  }
  // Most states and accumulators are full and equal: what need not be divided gives the bits of the
  // quotient.
  static TESSERA_HD Acc close(const State& s) {
    if (s.count == 0) return empty();
    C offset;
    if (s.count == kBlockElements) {
      offset = scaled(s.d1, 1.0 / kBlockElements);
    } else {
      offset = over(s.d1, static_cast<double>(s.count));
    }
    const bool overflow =
        s.d2 == prim::Infinity<double>::value && dot(minus(s.d1, s.d1), C{}) == 0.0;
    const double m2 = overflow ? s.d2 : s.d2 - dot(s.d1, offset);
    return {s.count, plus(s.shift, offset), m2 < 0.0 ? 0.0 : m2};
  }
  static TESSERA_HD Acc empty() { return {0, C{}, 0.0}; }
  static TESSERA_HD Acc merge(const Acc& a, const Acc& b) {
    if (b.count == 0) return a;
    if (a.count == 0) return b;
    const double na = static_cast<double>(a.count);
    double share = 0.5;
    if (a.count != b.count) {
      const double nb = static_cast<double>(b.count);
      share = nb / (na + nb);
    }
    const C delta = minus(b.mean, a.mean);
    return {a.count + b.count, plus(a.mean, scaled(delta, share)),
            a.m2 + (b.m2 + dot(delta, delta) * (na * share))};
  }
  static TESSERA_HD Acc load(const Planes& p, long long i) {
    return {at<long long>(p, 0, i), at<C>(p, 1, i), at<double>(p, 2, i)};
  }
  static TESSERA_HD void store(const Planes& p, long long i, const Acc& a) {
    at<long long>(p, 0, i) = a.count;
    at<C>(p, 1, i) = a.mean;
    at<double>(p, 2, i) = a.m2;
  }
  static TESSERA_HD double finish(const Acc& a, double ddof) {
    const double freedom = static_cast<double>(a.count) - ddof;
    return freedom > 0.0 ? a.m2 / freedom : nan_value();
  }
};
template <class T, bool kSkipNan>
struct Deviation : Moments<T, kSkipNan> {
  static TESSERA_HD double finish(const typename Moments<T, kSkipNan>::Acc& a, double ddof) {
    return prim::sqrt(Moments<T, kSkipNan>::finish(a, ddof));
  }
};

/// Square root of the sum of squared magnitudes.
template <class T>
struct Norm : Sum<double, false> {
  static TESSERA_HD void add(double& s, T x) {
    const Centre<T> v = to_centre(x);
    s += dot(v, v);
  }
  static TESSERA_HD double finish(double a, double) { return prim::sqrt(a); }
};

}  // namespace reduce
