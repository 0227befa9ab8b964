// Rows of scores that are small, as most are (exponential.hpp): their exponentials are taken of the numbers as they lie, with no level, so
// that nothing has to be known of the maximum. The label's own term stands apart from the sum of the others.
#pragma once

#include "exponential.hpp"

namespace SOFTGRAD_ISA {

template <class T, class Heat> bool all_small(const T *z, std::int64_t C, Heat heat) {
    constexpr int L = LANES<T>, STRIDE = 8 * L;
    for (std::int64_t j = 0; j < C; j += STRIDE) {
        Vec<T> largest[2] = {};
        sweep_by<T, 2>(C - j < STRIDE ? C - j : STRIDE, [&](std::int64_t k, auto part, auto size) {
            for (int i = 0; i < size.value; i++) largest[i] = larger(magnitude(heat.high(part.load(z + j + k + i * L, T(0)))), largest[i]);
        });
        if (!everywhere(larger(largest[0], largest[1]) < Exponent<T>::small_alone)) return false;
    }
    return true;
}

// e^u_y, and the sum of all other e^u_j, if all scores are small; what an Aside adds up of the scores. NaN in x comes out as NaN.
struct Split {
    double own, others, aside;
    bool small;
    double all() const { return own + others; }
};

// Nothing, or sum_j b_j (own - x_j).
template <class T> struct NoAside {
    template <class P> INLINE void see(std::int64_t, Vec<T>, P) {}
    INLINE void end_block() {}
    double sum() const { return 0; }
};
template <class T> struct Distances {
    const T *b;
    Vec<T> own;
    Vec<T> block{};
    Tally<T> tally{};
    Distances(const T *b, T own) : b(b), own(all(own)) {}
    template <class P> INLINE void see(std::int64_t j, Vec<T> x, P part) { block = fma(part.load(b + j, T(0)), own - x, block); }
    INLINE void end_block() { tally.add(block), block = Vec<T>{}; }
    double sum() const { return tally.sum(); }
};

// KEEP: the terms go to e. `next` is what to ask for meanwhile.
template <bool KEEP, class T, class Heat, class Aside>
Split split_of(const T *x, const T *next, std::int64_t C, std::int64_t label, Heat heat, T *e, Aside aside) {
    constexpr std::int64_t block = BLOCK * LANES<T>;
    constexpr int L = LANES<T>;
    Tally<T> tally;
    Vec<T> largest{};
    T own = 0;
    for (std::int64_t b = 0; b < C; b += block) {
        Vec<T> sum{};
        sweep_by<T, 2>(C - b < block ? C - b : block, [&](std::int64_t j, auto part, auto size) {
            constexpr int N = size.value;
            Vec<T> z[N], u[N], y[N];
            for (int byte = 0; byte < N * WIDTH; byte += 64) __builtin_prefetch((const char *)(next + b + j) + byte, 0, 2);
            for (int i = 0; i < N; i++) {
                z[i] = part.load(x + b + j + i * L, T(0));
                u[i] = heat.high(z[i]);
                largest = larger(magnitude(u[i]), largest);
                aside.see(b + j + i * L, z[i], part);
            }
            exponentials_of_small<T>(z, u, heat, y);
            for (int i = 0; i < N; i++) {
                y[i] = part.kept(y[i]);
                if constexpr (KEEP) part.store(e + b + j + i * L, y[i]);
            }
            if (const std::int64_t at = label - b - j; std::uint64_t(at) < std::uint64_t(N * L)) own = taken_out<T>(y, at);
            for (int i = 0; i < N; i++) sum += y[i];
        });
        tally.add(sum);
        aside.end_block();
    }
    return {double(own), tally.sum(), aside.sum(), everywhere(largest < Exponent<T>::small_alone)};
}

}  // namespace SOFTGRAD_ISA
