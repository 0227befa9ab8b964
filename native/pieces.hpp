// Three small matrix products, all with the lanes along D, on rows that are kept in bands: of every row two vectors, then the next two
// of every row, and so on. Whatever a product walks along, it reads line after line; rows of their own are as many streams, which
// processors do not foresee (rows of coef, of its gradient and of x one after the other: an eighth slower).
#pragma once

#include "storage.hpp"

namespace SOFTGRAD_ISA {

template <class T> constexpr int BAND = 2 * LANES<T>;

// Row 0 of band 0, and how far it is from band to band, in numbers of T.
template <class T>
struct Banded {
    T *at;
    std::int64_t step;
    Banded row(std::int64_t r) const { return {at + r * BAND<T>, step}; }
    Banded band(std::int64_t b) const { return {at + b * step, step}; }
};

// C classes in nearly equal blocks of at most five: 2 x 5 sums, 2 vectors of x and one of coef fill 13 of 16 registers, and
// C = 10 is not padded to 16. each() calls f(first class, number of classes as a constant).
struct Blocks {
    int count, size, larger;    // the first `larger` blocks have one class more than size
    explicit Blocks(std::int64_t C) : count(int((C + 4) / 5)), size(int(C) / count), larger(int(C) % count) {}

    template <class F> void each(F f) const {
        for (int b = 0, c = 0; b < count; b++) {
            const int now = size + (b < larger);
            switch (now) {
                case 5: f(c, Size<5>{}); break;
                case 4: f(c, Size<4>{}); break;
                case 3: f(c, Size<3>{}); break;
                case 2: f(c, Size<2>{}); break;
                default: f(c, Size<1>{});
            }
            c += now;
        }
    }
};

// The lines of memory that the next tile will read, asked for between the products of this one, so that the wait for memory
// hides behind them: one half in forward, one in backward. They go to the second-level cache; the first is full of coef.
struct Ahead {
    const char *at, *end;
    void next(int lines) {
        for (int i = 0; i < lines; i++) __builtin_prefetch(at + 64 * i, 0, 2);
        at = at < end ? at + 64 * lines : at;
    }
};

// Where rows of x come from: they are in the tile already, or they are read from X as it is stored and left in the tile.
struct InTile {
    template <class T> INLINE Vec<T> operator()(T *tile, int, std::int64_t) const { return load(tile); }
};
template <class S> struct FromX {
    const S *const *rows;
    template <class T> INLINE Vec<T> operator()(T *tile, int r, std::int64_t d) const {
        const Vec<T> v = numbers(rows[r] + d);
        store(tile, v);
        return v;
    }
};

// sums[r][c] += x[r] * coef[c], lane by lane: sums is [row][class][lane] and becomes a score when its lanes are added up.
template <class T, int ROWS, int K, class Source>
inline void add_products(Banded<T> x, Source source, Banded<const T> coef, std::int64_t bands, T *sums, std::int64_t classes, int lines,
                         Ahead &ahead) {
    constexpr int L = LANES<T>, B = BAND<T>;
    Vec<T> acc[ROWS][K];
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < K; c++) acc[r][c] = load(sums + (r * classes + c) * L);
    Ahead next = ahead;
    for (std::int64_t d = 0; d < bands * B; d += B, x = x.band(1), coef = coef.band(1)) {
        next.next(lines);
        for (int i = 0; i < B; i += L) {
            Vec<T> v[ROWS];
            for (int r = 0; r < ROWS; r++) v[r] = source(x.row(r).at + i, r, d + i);
            for (int c = 0; c < K; c++) {
                const Vec<T> w = held(load(coef.row(c).at + i));
                for (int r = 0; r < ROWS; r++) acc[r][c] = fma(v[r], w, acc[r][c]);
            }
        }
    }
    ahead = next;
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < K; c++) store(sums + (r * classes + c) * L, acc[r][c]);
}

// The first block of classes fetches the rows from X, unless `stored` is null: then the tile holds them already.
template <class T, class S>
void forward(Banded<T> x, int rows, const S *const *stored, Banded<const T> coef, int C, Blocks blocks, std::int64_t bands, T *sums,
             Ahead &ahead) {
    for (int r = 0; r < rows; r += 2)
        blocks.each([&](int c, auto size) {
            constexpr int K = size.value;
            T *to = sums + (std::int64_t(r) * C + c) * LANES<T>;
            const Banded<T> xr = x.row(r);
            const Banded<const T> w = coef.row(c);
            const bool pair = r + 1 < rows, fresh = c == 0 && stored;
            const FromX<S> from{stored + (fresh ? r : 0)};
            if (pair && fresh) add_products<T, 2, K>(xr, from, w, bands, to, C, 1, ahead);
            else if (fresh) add_products<T, 1, K>(xr, from, w, bands, to, C, 1, ahead);
            else if (pair) add_products<T, 2, K>(xr, InTile{}, w, bands, to, C, c == 0, ahead);
            else add_products<T, 1, K>(xr, InTile{}, w, bands, to, C, c == 0, ahead);
        });
}

// grad[c] += sum_r g[r][c] x[r]
template <class T>
void backward(Banded<const T> x, int rows, const T *g, int C, Blocks blocks, std::int64_t bands, Banded<T> grad, Ahead &ahead) {
    constexpr int L = LANES<T>, B = BAND<T>;
    for (std::int64_t b = 0; b < bands; b++, x = x.band(1), grad = grad.band(1)) {
        ahead.next(rows / 2);
        blocks.each([&](int c0, auto size) {
            constexpr int K = size.value;
            T *to = grad.row(c0).at;
            Vec<T> acc[K][2];
            for (int c = 0; c < K; c++)
                for (int v = 0; v < 2; v++) acc[c][v] = load(to + c * B + v * L);
            const auto add = [&](const T *row, const T *gr) {
                const Vec<T> x0 = load(row), x1 = load(row + L);
                for (int c = 0; c < K; c++) {
                    const Vec<T> w = all(gr[c]);
                    acc[c][0] = fma(x0, w, acc[c][0]);
                    acc[c][1] = fma(x1, w, acc[c][1]);
                }
            };
            const T *row = x.at, *gr = g + c0;
            for (int pairs = rows / 2; pairs > 0; pairs--, row += 2 * B, gr += 2 * C) {
                add(row, gr);
                add(row + B, gr + C);
            }
            if (rows % 2) add(row, gr);
            for (int c = 0; c < K; c++)
                for (int v = 0; v < 2; v++) store(to + c * B + v * L, acc[c][v]);
        });
    }
}

// A band of grad_x = sum_c g[c] coef[c], for one row.
template <class T> INLINE void row_gradient(const T *g, Banded<const T> coef, int C, T *grad_x) {
    constexpr int L = LANES<T>;
    Vec<T> acc[2] = {};
    for (int c = 0; c < C; c++)
        for (int v = 0; v < 2; v++) acc[v] = fma(load(coef.row(c).at + v * L), all(g[c]), acc[v]);
    for (int v = 0; v < 2; v++) store(grad_x + v * L, acc[v]);
}

}  // namespace SOFTGRAD_ISA
