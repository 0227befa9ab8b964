// The linear head in one pass: scores = X coef' + intercept, their loss, and the gradients. A tile of rows is read from memory
// once and stays in the second-level cache for both products:
//   forward   Z[r][c] = intercept[c] + sum_d x[r][d] coef[c][d]
//   formula   Z -> G in place (score.hpp)
//   backward  grad_coef[c][d] += sum_r G[r][c] x[r][d]
// X is never used where it lies: NumPy's arrays start 16 bytes off a cache line, and every second load would touch two lines
// (a fifth slower; and with rows on such borders it gained 2 % only).
// X is copied into bands (pieces.hpp), and forward takes so many of them at a time that their coef fits the first-level cache. One line
// of padding follows each band: with bands a power of two apart, lines of a row would share a few sets of that cache.
// No faster than this: tiles of 8, 16 and 32 rows; pieces of 256 and of 768 numbers; lines asked for into the first-level cache, past the
// second, or all of them in forward; the tile's lines asked for before they are stored; two bands a round; forward by 3 rows x 4 classes, and
// by 1 row x 10. Without the tile forward gains a seventh and backward loses half: rows of X a multiple of 4 KiB apart share one set of the
// first-level cache. To copy them there just before their use, by lines or in bursts, loses as much.
#pragma once

#include "pieces.hpp"
#include "score.hpp"
#include "window.hpp"

namespace SOFTGRAD_ISA {

template <class T, class S, class Heat>
class Head {
    static constexpr int L = LANES<T>, B = BAND<T>, TILE = 96 / int(sizeof(T)), PIECE = 1536 / int(sizeof(T)) / B;
    static constexpr int ROOM = (TILE + L - 1) / L * L;     // what Listed fills up to

   public:
    explicit Head(const HeadCall<T> &call)
        : call(call), C(call.rows.C), D(call.D), whole(D / B), bands((D + B - 1) / B), blocks(C), rule(call.rows), scorer(rule),
          of_coef(bands * (C | 1) * B), of_grad(bands * (C | 1) * B), of_tile(bands * (TILE + 1) * B), sums(TILE * C * L), z(TILE * C),
          stored(call.X, call.far, call.rows.n, D, TILE),
          coef{of_coef, (C | 1) * B}, grad{of_grad, (C | 1) * B}, tile{of_tile, (TILE + 1) * B} {
        for (std::int64_t b = 0; b < bands; b++)
            for (std::int64_t c = 0; c < C; c++) {
                unpack(call.coef + c * D + b * B, coef.band(b).row(c).at, count(b), B);
                unpack(call.coef, grad.band(b).row(c).at, 0, B);    // zeros
            }
        for (std::int64_t c = 0; c < C; c++) call.grad_intercept[c] = 0;
    }

    std::int64_t operator()() {
        std::int64_t rows[ROOM];
        int filled = 0;
        for (std::int64_t i = 0; i < call.rows.n; i++) {
            if (rule.counts(i)) {
                stored.reach(i);
                rows[filled++] = i;
            } else {
                leave_out(i);
            }
            if (filled == TILE || (filled && i + 1 == stored.end())) {
                const std::int64_t bad = one_tile(rows, filled);
                if (bad >= 0) return bad;
                filled = 0;
            }
        }
        for (std::int64_t b = 0; b < bands; b++)
            for (std::int64_t c = 0; c < C; c++)
                __builtin_memcpy(call.grad_coef + c * D + b * B, grad.band(b).row(c).at, count(b) * sizeof(T));
        return -1;
    }

   private:
    const HeadCall<T> &call;
    const std::int64_t C, D, whole, bands;  // bands of B numbers, and with the one that is not full
    const Blocks blocks;
    const Rule<T> rule;
    Scorer<T, Heat> scorer;
    Buffer<T> of_coef, of_grad, of_tile, sums, z;
    Window<S> stored;
    const Banded<T> coef, grad, tile;

    std::int64_t count(std::int64_t b) const { return b < whole ? B : D - b * B; }

    void leave_out(std::int64_t i) const {
        call.rows.losses[i] = 0;
        if (call.grad_X)
            for (std::int64_t d = 0; d < D; d++) call.grad_X[i * D + d] = 0;
    }

    std::int64_t one_tile(std::int64_t *rows, int filled) {
        std::int64_t at[ROOM];
        for (int k = 0; k < filled; k++) at[k] = k * C;
        const S *next = stored.row(rows[filled - 1] + 1);
        const std::int64_t left = stored.end() - 1 - rows[filled - 1];
        Ahead ahead{(const char *)next, (const char *)(next + (left < TILE ? left : TILE) * D)};
        scores(rows, filled, ahead);
        const std::int64_t bad = scorer(filled, Listed(filled, L, rows, at), z, z);
        if (bad >= 0) return bad;
        backward<T>(constant(tile), filled, z, int(C), blocks, bands, grad, ahead);
        for (int k = 0; k < filled; k++)
            for (std::int64_t c = 0; c < C; c++) call.grad_intercept[c] += double(z[k * C + c]);
        if (call.grad_X) gradient_of_rows(rows, filled);
        return -1;
    }

    static Banded<const T> constant(Banded<T> x) { return {x.at, x.step}; }

    // Z of the tile. Whole bands are read by the products themselves, the last one is unpacked and filled up with zeros if it is not full.
    void scores(const std::int64_t *rows, int filled, Ahead &ahead) {
        const S *x[TILE];
        for (std::int64_t j = 0; j < filled * C * L; j++) sums[j] = 0;
        for (std::int64_t b = 0; b < bands; b += PIECE) {
            const std::int64_t here = (b + PIECE < bands ? b + PIECE : bands) - b, fresh = b + here <= whole ? here : here - 1;
            for (int k = 0; k < filled; k++) {
                x[k] = stored.row(rows[k]) + b * B;
                if (fresh < here) unpack(x[k] + fresh * B, tile.band(whole).row(k).at, count(whole), B);
            }
            const Banded<const T> w = constant(coef).band(b);
            forward<T, S>(tile.band(b), filled, x, w, int(C), blocks, fresh, sums, ahead);
            if (fresh < here) forward<T, S>(tile.band(whole), filled, nullptr, w.band(fresh), int(C), blocks, 1, sums, ahead);
        }
        for (int k = 0; k < filled; k++)
            for (std::int64_t c = 0; c < C; c++) z[k * C + c] = total<T>(load(sums + (k * C + c) * L)) + call.intercept[c];
    }

    void gradient_of_rows(const std::int64_t *rows, int filled) {
        T last[B];
        for (int k = 0; k < filled; k++) {
            T *to = call.grad_X + rows[k] * D;
            for (std::int64_t b = 0; b < whole; b++) row_gradient<T>(z + k * C, constant(coef).band(b), int(C), to + b * B);
            if (whole == bands) continue;
            row_gradient<T>(z + k * C, constant(coef).band(whole), int(C), last);
            __builtin_memcpy(to + whole * B, last, count(whole) * sizeof(T));
        }
    }
};

template <class T, class S> std::int64_t head(const HeadCall<T> &call) {
    return untempered(call.rows) ? Head<T, S, Unit>(call)() : Head<T, S, Tempered<T>>(call)();
}

}  // namespace SOFTGRAD_ISA
