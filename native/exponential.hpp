// exp for d <= 0 and for scores below a row's maximum, log1p for s >= 0.
//
//   e^d   = 2^k e^r,  k = round(d / ln 2),  r = d - k ln 2 in [-ln 2 / 2, ln 2 / 2],  e^r = 1 + r + r^2 P(r)
//   e^(u - k_m ln 2) = 2^(k - k_m) e^r,  k = round(u / ln 2),  k_m = round(u_m / ln 2),  r = u - k ln 2
//   log1p = k ln 2 + 2 atanh(t),  t = f / (2 + f),  1 + f = 2^-k (1 + s) in [sqrt(1/2), sqrt 2)
//
// The polynomials are minimax fits (Remez exchange in 60 digits): P to 1.1e-8 of e^r for float, 1.8e-17 for double, the
// series of atanh to 8.0e-10 and 1.3e-18. Library functions were dropped: they take one lane at a time.
#pragma once

#include "exact.hpp"

namespace SOFTGRAD_ISA {

template <class T> struct Exponent;

template <> struct Exponent<float> {
    static constexpr float lowest = -88;                    // k = -127 from here on: the factor 2^k is an exact 0
    static constexpr float bottom = -127, near = 256;
    static constexpr float small = 40, ratio = 84;          // so that e^(2 small) and C e^ratio are finite, C <= 32
    static constexpr float small_alone = 64;                // so that C e^small_alone and its inverse are normal, and their ratio in double
    static constexpr float normal = 0x1p-126f;
    static constexpr float magic = 0x1.8p23f + 127;         // added to k it leaves k + 127 in the low bits
    static constexpr int mantissa = 23;
    static constexpr float log2e = 0x1.715476p+0f;
    static constexpr float ln2_hi = 0x1.62e4p-1f;           // 15 bits, so that k ln2_hi is exact even without fma
    static constexpr float ln2_lo = 0x1.7f7d1cp-20f;
    static constexpr float P[] = {0x1p-1f, 0x1.5554dcp-3f, 0x1.5554b8p-5f, 0x1.120bacp-7f, 0x1.6d759p-10f};
};

template <> struct Exponent<double> {
    static constexpr double lowest = -709;                  // k = -1023
    static constexpr double bottom = -1023, near = 2048;
    static constexpr double small = 300, ratio = 640;
    static constexpr double small_alone = 300;
    static constexpr double normal = 0x1p-1022;
    static constexpr double magic = 0x1.8p52 + 1023;
    static constexpr int mantissa = 52;
    static constexpr double log2e = 0x1.71547652b82fep+0;
    static constexpr double ln2_hi = 0x1.62e42fefa3p-1;     // 41 bits
    static constexpr double ln2_lo = 0x1.3de6af278ece6p-42;
    static constexpr double P[] = {0x1.0000000000001p-1,  0x1.5555555555558p-3,  0x1.5555555553d4fp-5,
                                   0x1.111111110f7f7p-7,  0x1.6c16c178937bap-10, 0x1.a01a01b011f52p-13,
                                   0x1.a019b8ef8d537p-16, 0x1.71ddf6a4f6160p-19, 0x1.2891a89639965p-22,
                                   0x1.af634467ae0bdp-26};
};

// e[i] = 2^k e^r for shifted = k + magic. N vectors go in step: one alone is a chain of 60 cycles, and a processor that looks ahead two or
// three of them idles. Estrin's order of the polynomial, a shorter chain of more steps, was 5 % slower.
template <class T, int N> INLINE void powers(const Vec<T> (&r)[N], const Vec<T> (&shifted)[N], Vec<T> (&e)[N]) {
    using E = Exponent<T>;
    constexpr int degree = int(sizeof(E::P) / sizeof(T));
    for (int i = 0; i < N; i++) e[i] = all(E::P[degree - 1]);
    for (int p = degree - 2; p >= 0; p--)
        for (int i = 0; i < N; i++) e[i] = fma(e[i], r[i], all(E::P[p]));
    for (int p = 0; p < 2; p++)
        for (int i = 0; i < N; i++) e[i] = fma(e[i], r[i], all(T(1)));
    for (int i = 0; i < N; i++) e[i] *= of_bits(bits(shifted[i]) << E::mantissa);
}

// The same, and 0 where low says so, whatever the steps before came to (NaN for -inf).
template <class T, int N> INLINE void powers(const Vec<T> (&r)[N], const Vec<T> (&shifted)[N], const Mask<T> (&low)[N], Vec<T> (&e)[N]) {
    powers<T>(r, shifted, e);
    for (int i = 0; i < N; i++) e[i] = without(low[i], e[i]);
}

// e[i] = e^(d[i].hi + d[i].lo), hi <= 0; 0 below -88 (-709); NaN in hi comes out as NaN.
template <class T, int N> INLINE void exponentials(const Pair<T> (&d)[N], Vec<T> (&e)[N]) {
    using E = Exponent<T>;
    Vec<T> r[N], shifted[N];
    Mask<T> low[N];
    for (int i = 0; i < N; i++) shifted[i] = fma(d[i].hi, all(E::log2e), all(E::magic));
    for (int i = 0; i < N; i++) {
        const Vec<T> k = shifted[i] - E::magic;
        r[i] = fma(k, all(-E::ln2_hi), d[i].hi) + fma(k, all(-E::ln2_lo), d[i].lo);
        low[i] = d[i].hi < E::lowest;
    }
    powers<T>(r, shifted, low, e);
}

// Where the exponentials of a row with the maximum m start from. Relative to k_m ln 2, not to m: k ln 2 is near u, and r is what is left of
// u itself, so that no rounding error of z - m has to travel along, and five steps of 28 are saved. Far from 0, where k ln 2 has no exact
// products, scores that count differ from m by exact numbers, and mu = m is taken off first.
template <class T> struct Level {
    Vec<T> mu, magic, lowest;
    template <class Heat> INLINE Level(Vec<T> m, Heat heat) {
        using E = Exponent<T>;
        const Vec<T> u = heat.high(m);
        mu = (u < E::near) & (u > -E::near) ? Vec<T>{} : m;
        const Vec<T> k = fma(heat.high(m - mu), all(E::log2e), all(E::magic)) - E::magic;
        magic = E::magic - k;
        lowest = (k + E::bottom) * E::ln2_hi;
    }
};

// e[i] = e^(u - k_m ln 2) for u = slope (z[i] - mu), between sqrt(1/2) and sqrt 2 for z = m; 0 where it would be below the smallest normal
// number, from about u_m - 87.7 (708.7) on; NaN stays NaN.
template <class T, int N, class Heat> INLINE void exponentials(const Vec<T> (&z)[N], const Level<T> &level, Heat heat, Vec<T> (&e)[N]) {
    using E = Exponent<T>;
    Vec<T> d[N], u[N], r[N], shifted[N];
    Mask<T> low[N];
    for (int i = 0; i < N; i++) d[i] = z[i] - level.mu;
    for (int i = 0; i < N; i++) u[i] = heat.high(d[i]);
    for (int i = 0; i < N; i++) shifted[i] = fma(u[i], all(E::log2e), level.magic);
    for (int i = 0; i < N; i++) {
        const Vec<T> k = shifted[i] - level.magic;
        r[i] = heat.and_low(fma(k, all(-E::ln2_lo), fma(k, all(-E::ln2_hi), u[i])), d[i], u[i]);
        low[i] = u[i] < level.lowest;
    }
    powers<T>(r, shifted, low, e);
}

// e[i] = e^u for u = slope z[i] that is `small`: the same digits as relative to any level, and no step that large ones ask for. Others, and
// NaN, come to anything.
template <class T, int N, class Heat> INLINE void exponentials_of_small(const Vec<T> (&z)[N], const Vec<T> (&u)[N], Heat heat, Vec<T> (&e)[N]) {
    using E = Exponent<T>;
    Vec<T> r[N], shifted[N];
    for (int i = 0; i < N; i++) shifted[i] = fma(u[i], all(E::log2e), all(E::magic));
    for (int i = 0; i < N; i++) {
        const Vec<T> k = shifted[i] - E::magic;
        r[i] = heat.and_low(fma(k, all(-E::ln2_lo), fma(k, all(-E::ln2_hi), u[i])), z[i], u[i]);
    }
    powers<T>(r, shifted, e);
}

template <class T> struct Logarithm;

template <> struct Logarithm<float> {
    static constexpr std::int32_t one = 0x3f800000, root_half = 0x3f3504f3;     // bits of 1 and sqrt(1/2)
    static constexpr float P[] = {0x1.55557ap-1f, 0x1.995edp-2f, 0x1.31e0dep-2f};
};

template <> struct Logarithm<double> {
    static constexpr std::int64_t one = 0x3ff0000000000000, root_half = 0x3fe6a09e667f3bcd;
    static constexpr double P[] = {0x1.5555555555593p-1, 0x1.999999997fb2dp-2, 0x1.2492494217d28p-2, 0x1.c71c51e7d2aa4p-3,
                                   0x1.74664633ca71fp-3, 0x1.39a0f44aae358p-3, 0x1.2f0d95c88150ep-3};
};

// With u = fl(1 + s): log(1 + s) = log u + (s - (u - 1)) / u, so that a tiny s comes back whole.
template <class T> INLINE Vec<T> log1p_of(Vec<T> s) {
    using E = Exponent<T>;
    using G = Logarithm<T>;
    constexpr int degree = int(sizeof(G::P) / sizeof(T));
    Vec<T> u = 1 + s, lost = (s - (u - 1)) / u;
    Mask<T> bumped = bits(u) + (G::one - G::root_half);     // carries into the exponent from sqrt(2) on
    Vec<T> k = exponent_of(of_bits(bumped));
    Vec<T> f = of_bits((bumped & ((typename Lane<T>::Int(1) << E::mantissa) - 1)) + G::root_half) - 1;
    Vec<T> t = f / (2 + f), t2 = t * t, p = all(G::P[degree - 1]);
    for (int i = degree - 2; i >= 0; i--) p = fma(p, t2, all(G::P[i]));
    return k * E::ln2_hi + (2 * t + (t * t2 * p + (k * E::ln2_lo + lost)));
}

}  // namespace SOFTGRAD_ISA
