// The terms of a row of many classes, relative to its maximum, and their sums: rows as they are given, without their label, or mapped.
#pragma once

#include "exponential.hpp"

namespace SOFTGRAD_ISA {

template <class T> T maximum(const T *z, std::int64_t C) {
    constexpr int L = LANES<T>;
    Vec<T> m[4];
    for (auto &v : m) v = all(T(-INFINITE));
    std::int64_t j = 0;
    for (; j + 4 * L <= C; j += 4 * L)
        for (int i = 0; i < 4; i++) m[i] = larger(load(z + j + i * L), m[i]);
    sweep<T>(C - j, [&](std::int64_t k, auto part) { m[0] = larger(part.load(z + j + k, T(-INFINITE)), m[0]); });
    return highest<T>(larger(larger(m[0], m[1]), larger(m[2], m[3])))[0];
}

constexpr int STEP = 2;     // vectors in step; 3 and 4 run out of the 16 registers and were slower

// A label among the scores of its row: whether it is the maximum, and m - x_y.
struct Label { bool top; double below; };

// The distances x_j - m <= 0 of a row as pairs, and (m - x_j) SMALL; terms as sums_of has them. Lanes past the end are infinitely far.
template <class T, class Heat> struct Given {
    const T *x, *next;      // next: what to ask for while this row is being worked on
    const Vec<T> m;
    const Heat heat;
    const Level<T> level = Level<T>(m, heat);

    Label label(std::int64_t y) const { return {x[y] == m[0], double(m[0]) - double(x[y])}; }

    template <class P> INLINE Pair<T> below_top(std::int64_t j, P part) const { return below<T>(part.load(x + j, T(-INFINITE)), m); }
    template <class P> INLINE Vec<T> distance(std::int64_t j, P part) const { return distance_of<T>(part.load(x + j, m[0]), m); }
    template <int N, class P> INLINE void terms(std::int64_t j, P part, Vec<T> (&e)[N]) const {
        Vec<T> z[N];
        for (int i = 0; i < N; i++) z[i] = part.load(x + j + i * LANES<T>, T(-INFINITE));
        exponentials<T>(z, level, heat, e);
    }
};

// The same without class y: its term is 0, and m is the others' maximum.
template <class T, class Heat> struct Others {
    const Given<T, Heat> row;
    const std::int64_t y;
    const T *next = row.next;

    template <int N, class P> INLINE void terms(std::int64_t j, P part, Vec<T> (&e)[N]) const {
        row.terms(j, part, e);
        if (std::uint64_t(y - j) < std::uint64_t(N * LANES<T>)) taken_out<T>(e, y - j);
    }
};

// The same of x + lo; m_lo belongs to m.
template <class T, class Heat> struct Mapped {
    const T *x, *lo, *next;
    const Vec<T> m, m_lo;
    const Heat heat;

    Label label(std::int64_t y) const {
        return {x[y] == m[0] && lo[y] == m_lo[0], (double(m[0]) - double(x[y])) + (double(m_lo[0]) - double(lo[y]))};
    }

    template <class P> INLINE Pair<T> below_top(std::int64_t j, P part) const {
        Pair<T> d = below<T>(part.load(x + j, T(-INFINITE)), m);
        d.lo += part.load(lo + j, T(0)) - m_lo;
        return d;
    }
    template <class P> INLINE Vec<T> distance(std::int64_t j, P part) const {
        return distance_of<T>(part.load(x + j, m[0]), m) + (m_lo - part.load(lo + j, m_lo[0])) * T(SMALL);
    }
    template <int N, class P> INLINE void terms(std::int64_t j, P part, Vec<T> (&e)[N]) const {
        Pair<T> d[N];
        for (int i = 0; i < N; i++) d[i] = heat(below_top(j + i * LANES<T>, part));
        exponentials<T>(d, e);
    }
};

// The terms e_j = c exp(slope (x_j - m)) of a row, sqrt(1/2) <= c <= sqrt 2: the largest of them, which is c, and the sum of the others.
struct Sums {
    double others, c;
    double s() const { return others / c; }
    double all() const { return c + others; }
};

// KEEP: the terms go to e. Of each lane's largest term so far and the next one, the smaller is added: no search for the place of the
// maximum (plain sums, and once more those that may have it, cost as much in branches that nobody foresees). NaN in x comes out as NaN.
// The next row's maximum taken on the way was no gain, and neither was sum_j a_j (m - x_j), for want of registers.
template <bool KEEP, class T, class Row> Sums sums_of(Row row, T *e, std::int64_t C) {
    constexpr std::int64_t block = BLOCK * LANES<T>;
    Tally<T> tally;
    Vec<T> tops{};
    for (std::int64_t b = 0; b < C; b += block) {
        Vec<T> sum{};
        sweep_by<T, STEP>(C - b < block ? C - b : block, [&](std::int64_t j, auto part, auto size) {
            constexpr int N = size.value, L = LANES<T>;
            Vec<T> y[N];
            for (int byte = 0; byte < N * WIDTH; byte += 64) __builtin_prefetch((const char *)(row.next + b + j) + byte, 0, 2);
            row.terms(b + j, part, y);
            for (int i = 0; i < N; i++) {
                sum += smaller(tops, y[i]);
                tops = larger(tops, y[i]);
                if constexpr (KEEP) part.store(e + b + j + i * L, y[i]);
            }
        });
        tally.add(sum);
    }
    Vec<T> others{};
    const Vec<T> largest = highest_apart<T>(tops, others);
    tally.add(others);
    return {tally.sum(), double(largest[0])};
}

}  // namespace SOFTGRAD_ISA
