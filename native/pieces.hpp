// Three small matrix products, all with the lanes along D, on rows, coefficients and gradients by bands (bands.hpp, kept.hpp).
#pragma once

#include "kept.hpp"

namespace SOFTGRAD_ISA {

// C classes in nearly equal blocks of at most MOST: 2 x MOST sums, 2 vectors of x and one of coef fit the registers, 16 of them or, with
// AVX-512, 32; C = 10 is not padded to 16. each() calls f(first class, number of classes as a constant).
struct Blocks {
    static constexpr int MOST = WIDTH == 64 ? 12 : 5;
    int count, size, larger;    // the first `larger` blocks have one class more than size
    explicit Blocks(std::int64_t C) : count(int((C + MOST - 1) / MOST)), size(int(C) / count), larger(int(C) % count) {}

    template <class F> void each(F f) const {
        for (int b = 0, c = 0; b < count; b++) {
            const int now = size + (b < larger);
            one(now, c, f, Size<MOST>{});
            c += now;
        }
    }

   private:
    template <int K, class F> static void one(int now, int c, F &f, Size<K> size) {
        if constexpr (K > 1)
            if (now < K) return one(now, c, f, Size<K - 1>{});
        f(c, size);
    }
};

// The lines of memory that the next tile will read, asked for between the products of this one, so that the wait for memory hides behind
// them: one half in forward, one in backward. They go to the second-level cache; the first is full of coef. Side by side from STRIPS parts of
// the tile: a processor that sees a stream fetches on by itself, but begins anew at every page (Ice Lake, 50000 x 3072 x 10: 37 ms with two
// strips, 40 with one, 38 with four).
template <class T, class S>
class Ahead {
    static constexpr int STRIPS = WIDTH == 64 ? 2 : 1, BYTES = BAND<T> * int(sizeof(S)), EVERY = BYTES < 64 * STRIPS ? 64 * STRIPS / BYTES : 1;

   public:
    Ahead(const S *rows, std::int64_t bytes)
        : at(reinterpret_cast<const char *>(rows)), strip((bytes + 64 * STRIPS - 1) / (64 * STRIPS) * 64), end(at + strip) {}

    // Whether the k-th pair of rows asks at every band, or the k-th band at every pair: in all for half of the lines.
    bool asks(std::int64_t k) const { return k % EVERY == 0 && at < end; }

    INLINE void next() {
        for (int i = 0; i < STRIPS; i++) __builtin_prefetch(at + i * strip, 0, 2);
        at += 64;
    }

   private:
    const char *at;
    std::int64_t strip;
    const char *end;
};

// sums[r][c] += x[r] * coef[c], lane by lane: sums is [row][class][lane] and becomes a score when its lanes are added up.
template <class T, int ROWS, int K, class Source, class Ahead>
inline void add_products(Source x, Banded<const T> coef, Stretch bands, T *sums, std::int64_t classes, bool ask, Ahead &ahead) {
    constexpr int L = LANES<T>, B = BAND<T>;
    Vec<T> acc[ROWS][K];
    times<ROWS>([&](int r) { times<K>([&](int c) { acc[r][c] = load(sums + (r * classes + c) * L); }); });
    Ahead next = ahead;
    coef = coef.band(bands.begin);
    for (std::int64_t b = bands.begin; b < bands.end; b++, coef = coef.band(1)) {
        if (ask) next.next();
        const auto here = x.band(b);
        for (int i = 0; i < B; i += L) {
            Vec<T> v[ROWS];
            times<ROWS>([&](int r) { v[r] = here(r, i); });
            times<K>([&](int c) {
                const Vec<T> w = held(load(coef.row(c).at + i));
                times<ROWS>([&](int r) { acc[r][c] = onto(acc[r][c], v[r], w); });
            });
        }
    }
    ahead = next;
    times<ROWS>([&](int r) { times<K>([&](int c) { store(sums + (r * classes + c) * L, acc[r][c]); }); });
}

// Some bands of all rows of a tile. Classes outside: a block of coef stays in the first-level cache for all rows, also where all of coef
// would not (the other way round, 24 and 32 classes took up to a tenth longer).
template <class T, class First, class Again, class Ahead>
void forward(First first, Again again, int rows, Banded<const T> coef, Stretch bands, int C, Blocks blocks, T *sums, Ahead &ahead) {
    blocks.each([&](int c, auto size) {
        constexpr int K = size.value;
        for (int r = 0; r < rows; r += 2) {
            T *to = sums + (std::int64_t(r) * C + c) * LANES<T>;
            const auto add = [&](auto x, bool ask) {
                if (r + 1 < rows) add_products<T, 2, K>(x, coef.row(c), bands, to, C, ask, ahead);
                else add_products<T, 1, K>(x, coef.row(c), bands, to, C, ask, ahead);
            };
            if (c == 0) add(first.from(r), ahead.asks(r / 2));
            else add(again.from(r), false);
        }
    });
}

// grad[c] += sum_r g[r][c] x[r]; asks at every second row.
template <class T, int K, class Source, class Ahead>
inline void add_rows(Source x, int rows, const T *g, std::int64_t classes, Banded<T> grad, Stretch bands, bool asks, Ahead &ahead) {
    constexpr int L = LANES<T>, B = BAND<T>;
    for (std::int64_t b = bands.begin; b < bands.end; b++) {
        T *const to = grad.band(b).at;
        const auto here = x.band(b);
        const T *factors = g;
        const bool ask = asks && ahead.asks(b);
        Vec<T> acc[K][2];
        times<K>([&](int c) { times<2>([&](int v) { acc[c][v] = load(to + c * B + v * L); }); });
        Ahead next = ahead;
        for (int r = 0; r < rows; r++, factors += classes) {
            if (ask && r % 2) next.next();
            const Vec<T> x0 = here(r, 0), x1 = here(r, L);
            times<K>([&](int c) {
                const Vec<T> w = all(factors[c]);
                acc[c][0] = onto(acc[c][0], x0, w);
                acc[c][1] = onto(acc[c][1], x1, w);
            });
        }
        ahead = next;
        times<K>([&](int c) { times<2>([&](int v) { store(to + c * B + v * L, acc[c][v]); }); });
    }
}

// All bands, by a few at a time, which stay in the first-level cache for all blocks of classes.
template <class T, class Source, class Ahead>
void backward(Source x, int rows, const T *g, int C, Blocks blocks, Banded<T> grad, std::int64_t bands, Ahead &ahead) {
    constexpr std::int64_t FEW_BANDS = 8;
    for (std::int64_t b = 0; b < bands; b += FEW_BANDS) {
        const Stretch some{b, b + FEW_BANDS < bands ? b + FEW_BANDS : bands};
        blocks.each([&](int c, auto size) { add_rows<T, size.value>(x, rows, g + c, C, grad.row(c), some, c == 0, ahead); });
    }
}

// A band of grad_x[r] = sum_c g[r][c] coef[c], for so many rows at once that their sums keep the processor busy.
template <class T, int ROWS> INLINE void row_gradients(const T *g, int C, Banded<const T> coef, T *const *grad_x, std::int64_t begin) {
    constexpr int L = LANES<T>;
    Vec<T> acc[ROWS][2] = {};
    for (int c = 0; c < C; c++) {
        const T *const w = coef.row(c).at;
        const Vec<T> w0 = load(w), w1 = load(w + L);
        times<ROWS>([&](int r) {
            const Vec<T> factor = all(g[r * C + c]);
            acc[r][0] = onto(acc[r][0], w0, factor);
            acc[r][1] = onto(acc[r][1], w1, factor);
        });
    }
    times<ROWS>([&](int r) { times<2>([&](int v) { store(grad_x[r] + begin + v * L, acc[r][v]); }); });
}

}  // namespace SOFTGRAD_ISA
