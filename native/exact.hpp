// Numbers kept as an unevaluated sum hi + lo, twice the digits of T, and sums that lose none.
//
// Why: e^d inherits the absolute error of d as its relative error. A difference d = z - m near -80 rounds by up to 2^-19 of
// itself in float32, and the gradient of that class would be off by 32 eps: so the rounding error travels along as lo.
#pragma once

#include "simd.hpp"

namespace SOFTGRAD_ISA {

constexpr double INFINITE = __builtin_inf();

template <class T> struct Pair { Vec<T> hi, lo; };

// z - m for z <= m, exactly. Of the two terms z and -m the smaller one also has the larger magnitude (if m < 0, z lies below
// it; if m >= 0, either -m or a z below -m), so Dekker's short sum of 3 operations does, where unordered terms cost 6.
template <class T> INLINE Pair<T> below(Vec<T> z, Vec<T> m) {
    Vec<T> large = smaller(z, -m), small = larger(z, -m), hi = z - m;
    return {hi, small - (hi - large)};
}

// a + b, exactly (Knuth's sum of unordered terms); no rest where the sum is not finite.
template <class T> INLINE Pair<T> sum_of(Vec<T> a, Vec<T> b) {
    const Vec<T> hi = a + b, bb = hi - a, lo = (a - (hi - bb)) + (b - bb);
    return {hi, hi - hi == T(0) ? lo : Vec<T>{}};
}

// (m - z) SMALL: in float32, scores of +-3e38 are finite and their distance is not.
constexpr double SMALL = 0x1p-32;
template <class T> INLINE Vec<T> distance_of(Vec<T> z, Vec<T> m) { return m * T(SMALL) - z * T(SMALL); }

// a b - p for p = fl(a b), exactly (short of over- and underflow).
template <class T> INLINE Vec<T> product_error(Vec<T> a, Vec<T> b, Vec<T> p) {
    if constexpr (EXACT_FMA) return fma(a, b, -p);
    const T split = sizeof(T) == 4 ? T(4097) : T(134217729);  // Veltkamp: halves of 12 or 26 bits, whose products are exact
    Vec<T> as = a * split, bs = b * split;
    Vec<T> ah = as - (as - a), bh = bs - (bs - b), al = a - ah, bl = b - bh;
    return ((ah * bh - p) + ah * bl + al * bh) + al * bl;
}

// Multiplication by the slope: nothing to do, or a product in twice the digits, of a pair, or of a number by parts, high(d) and what is
// left, which is added to r last.
struct Unit {
    Unit(double, double) {}
    template <class T> INLINE Pair<T> operator()(Pair<T> d) const { return d; }
    template <class V> INLINE V high(V d) const { return d; }
    template <class V> INLINE V and_low(V r, V, V) const { return r; }
};

template <class T> struct Tempered {
    Vec<T> hi, lo;
    Tempered(double slope, double rest) : hi(all(T(slope))), lo(all(T((slope - double(T(slope))) + rest))) {}
    INLINE Pair<T> operator()(Pair<T> d) const {
        Vec<T> p = d.hi * hi;
        return {p, fma(d.hi, lo, fma(d.lo, hi, product_error<T>(d.hi, hi, p)))};
    }
    INLINE Vec<T> high(Vec<T> d) const { return d * hi; }
    INLINE Vec<T> and_low(Vec<T> r, Vec<T> d, Vec<T> p) const { return r + fma(d, lo, product_error<T>(d, hi, p)); }
};

// A long sum: blocks of at most BLOCK vectors are added up in T, each block then goes to double, or, where T is double, to a
// double that remembers its rounding errors. The error stays at a few eps for any length.
constexpr int BLOCK = 16;
template <class T> struct Tally;

template <> struct Tally<float> {
    Doubles low{}, high{};
    INLINE void add(Floats block) {
        TwoDoubles wide = widened(block);
        low += wide.low;
        high += wide.high;
    }
    double sum() const { return total<double>(low + high); }
};

template <> struct Tally<double> {
    Doubles value{}, error{};
    INLINE void add(Doubles block) {
        Doubles next = value + block, back = next - value;
        error += (value - (next - back)) + (block - back);
        value = next;
    }
    double sum() const {
        const double rough = total<double>(value);      // where it is infinite the remembered errors are inf - inf
        return rough - rough == 0 ? total<double>(value + error) : rough;
    }
};

}  // namespace SOFTGRAD_ISA
