// The linear head in one pass: scores = X coef' + intercept, their loss, and the gradients. A tile of rows is read from memory
// once and stays in the second-level cache for both products:
//   forward   Z[r][c] = intercept[c] + sum_d x[r][d] coef[c][d]
//   formula   Z -> G in place (score.hpp)
//   backward  grad_coef[c][d] += sum_r G[r][c] x[r][d]
// Forward takes so many bands of X at a time that their coef fits the first-level cache.
// No faster than this, with 16 registers: tiles of 8, 16 and 32 rows; pieces of 256 and of 768 numbers; lines asked for into the first-level
// cache, past the second, or all of them in forward; two bands a round; forward by 3 rows x 4 classes, and by 1 row x 10. With 32: tiles of 24
// and 32 rows; forward by 4 rows x 5 classes; backward by groups of rows whose gradient stays in the first-level cache.
#pragma once

#include "pieces.hpp"
#include "score.hpp"
#include "window.hpp"

namespace SOFTGRAD_ISA {

template <class T, class S, class Heat>
class Head {
    static constexpr int L = LANES<T>, B = BAND<T>;
    static constexpr int TILE = (WIDTH == 64 ? 64 : 96) / int(sizeof(T)), PIECE = (WIDTH == 64 ? 2048 : 1536) / int(sizeof(T)) / B;
    static constexpr int AT_ONCE = WIDTH == 64 ? 8 : 4;     // rows by whose features there is a gradient
    static constexpr int ROOM = (TILE + L - 1) / L * L;     // what Listed fills up to

   public:
    explicit Head(const HeadCall<T> &call)
        : call(call), C(call.rows.C), D(call.D), cut(D), blocks(C), rule(call.rows), scorer(rule), begins(cut.bands),
          of_coef(cut.bands * (C | 1) * B), of_grad(cut.bands * (C | 1) * B), sums(TILE * C * L), z(TILE * C), narrow(D < B ? TILE * B : 0), narrow_grad(D < B ? TILE * B : 0),
          stored(call.X, call.far, call.rows.n, D, TILE), kept(cut.bands, TILE), coef{of_coef, (C | 1) * B}, grad{of_grad, (C | 1) * B} {
        cut.each([&](std::int64_t b, std::int64_t d, std::int64_t count, std::int64_t place) {
            begins[b] = d - place;
            for (std::int64_t c = 0; c < C; c++) {
                T *to = coef.band(b).row(c).at, *sum = grad.band(b).row(c).at;
                for (int i = 0; i < B; i += L) store(sum + i, Vec<T>{});
                if (count < B)
                    for (int i = 0; i < B; i += L) store(to + i, Vec<T>{});
                copy(call.coef + c * D + d, to + place, count);
            }
        });
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
        cut.each([&](std::int64_t b, std::int64_t d, std::int64_t count, std::int64_t place) {
            for (std::int64_t c = 0; c < C; c++) copy(grad.band(b).row(c).at + place, call.grad_coef + c * D + d, count);
        });
        return -1;
    }

   private:
    const HeadCall<T> &call;
    const std::int64_t C, D;
    const Cut<T> cut;
    const Blocks blocks;
    const Rule<T> rule;
    Scorer<T, Heat> scorer;
    Buffer<std::int64_t> begins;
    Buffer<T> of_coef, of_grad, sums, z;
    Buffer<S> narrow;       // rows of less than a band, followed by zeros,
    Buffer<T> narrow_grad;  // and the gradient by them
    Window<S> stored;
    Kept<T, S> kept;
    const Banded<T> coef, grad;

    static void copy(const T *from, T *to, std::int64_t count) {
        if (count < B) __builtin_memcpy(to, from, count * sizeof(T));
        else for (int i = 0; i < B; i += L) store(to + i, load(from + i));
    }

    void leave_out(std::int64_t i) const {
        call.rows.losses[i] = 0;
        if (call.grad_X)
            for (std::int64_t d = 0; d < D; d++) call.grad_X[i * D + d] = 0;
    }

    std::int64_t one_tile(std::int64_t *rows, int filled) {
        std::int64_t at[ROOM];
        const S *x[TILE];
        for (int k = 0; k < filled; k++) at[k] = k * C;
        for (int k = 0; k < filled; k++) x[k] = D < B ? widened(stored.row(rows[k]), k) : stored.row(rows[k]);
        const std::int64_t left = stored.end() - 1 - rows[filled - 1];
        Ahead<T, S> ahead(stored.row(rows[filled - 1] + 1), (left < TILE ? left : TILE) * D * std::int64_t(sizeof(S)));
        const Lying<S> lying{x, begins};
        scores(lying, filled, ahead);
        const std::int64_t bad = scorer(filled, Listed(filled, L, rows, at), z, z);
        if (bad >= 0) return bad;
        backward<T>(kept.again(lying), filled, z, int(C), blocks, grad, cut.bands, ahead);
        for (int k = 0; k < filled; k++)
            for (std::int64_t c = 0; c < C; c++) call.grad_intercept[c] += double(z[k * C + c]);
        if (call.grad_X) gradient_of_rows(rows, filled);
        return -1;
    }

    const S *widened(const S *x, int k) {
        S *row = narrow + k * B;
        for (std::int64_t d = 0; d < B; d++) row[d] = d < D ? x[d] : S{};
        return row;
    }

    static Banded<const T> constant(Banded<T> x) { return {x.at, x.step}; }

    void scores(Lying<S> x, int filled, Ahead<T, S> &ahead) {
        for (std::int64_t j = 0; j < filled * C * L; j++) sums[j] = 0;
        for (std::int64_t b = 0; b < cut.bands; b += PIECE) {
            const Stretch piece{b, b + PIECE < cut.bands ? b + PIECE : cut.bands};
            forward<T>(kept.first(x), kept.again(x), filled, constant(coef), piece, int(C), blocks, sums, ahead);
        }
        for (int k = 0; k < filled; k++)
            for (std::int64_t c = 0; c < C; c++) z[k * C + c] = total<T>(load(sums + (k * C + c) * L)) + call.intercept[c];
    }

    // The last band first: where it reaches into the band before, that one is right.
    void gradient_of_rows(const std::int64_t *rows, int filled) {
        T *to[TILE];
        for (int k = 0; k < filled; k++) to[k] = D < B ? narrow_grad + k * B : call.grad_X + rows[k] * D;
        for (std::int64_t b = cut.bands - 1; b >= 0; b--) {
            const Banded<const T> w = constant(coef).band(b);
            const std::int64_t begin = D < B ? 0 : begins[b];
            int k = 0;
            for (; k + AT_ONCE <= filled; k += AT_ONCE) row_gradients<T, AT_ONCE>(z + k * C, int(C), w, to + k, begin);
            for (; k < filled; k++) row_gradients<T, 1>(z + k * C, int(C), w, to + k, begin);
        }
        if (D < B)
            for (int k = 0; k < filled; k++) __builtin_memcpy(call.grad_X + rows[k] * D, to[k], D * sizeof(T));
    }
};

template <class T, class S> std::int64_t head(const HeadCall<T> &call) {
    return untempered(call.rows) ? Head<T, S, Unit>(call)() : Head<T, S, Tempered<T>>(call)();
}

}  // namespace SOFTGRAD_ISA
