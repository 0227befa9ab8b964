// The linear head on rows of which most numbers are zero (CSR). Scores and gradient touch one row of coef' (D, C) per stored
// number, with the lanes along the classes. D x C does not fit a cache, so rows are asked for some numbers before their turn.
#pragma once

#include "score.hpp"

namespace SOFTGRAD_ISA {

// to += x row
template <class T> inline void add_scaled(T *to, T x, const T *row, std::int64_t C) {
    sweep<T>(C, [&](std::int64_t j, auto part) {
        part.store(to + j, fma(all(x), part.load(row + j, T(0)), part.load(to + j, T(0))));
    });
}

// Scores of a row become what its numbers carry to the gradient: by `Turn`, the loss (Scorer) or its curvature (Curvature).
template <class T, class Turn>
class Sparse {
    static constexpr int TILE = LANES<T>, IN_FLIGHT = 4096;     // bytes asked for and not yet used

   public:
    explicit Sparse(const SparseCall<T> &call) : call(call), C(call.rows.C), lead(1 + IN_FLIGHT / (C * std::int64_t(sizeof(T)))), last(call.indptr[call.rows.n]),
          rule(call.rows), turn(rule), z(TILE * C) {
        for (std::int64_t c = 0; c < C; c++) call.grad_intercept[c] = 0;
    }

    std::int64_t operator()() {
        std::int64_t rows[TILE];
        int filled = 0;
        for (std::int64_t i = 0; i < call.rows.n; i++) {
            if (rule.counts(i))
                rows[filled++] = i;
            else if (call.rows.losses)
                call.rows.losses[i] = 0;
            if (filled == TILE || (filled && i + 1 == call.rows.n)) {
                const std::int64_t bad = one_tile(rows, filled);
                if (bad >= 0) return bad;
                filled = 0;
            }
        }
        return -1;
    }

   private:
    const SparseCall<T> &call;
    const std::int64_t C, lead, last;
    const Rule<T> rule;
    Turn turn;
    Buffer<T> z;

    std::int64_t one_tile(std::int64_t *rows, int filled) {
        std::int64_t at[TILE];
        for (int k = 0; k < filled; k++) at[k] = k * C;
        for (int k = 0; k < filled; k++) scores(rows[k], z + k * C);
        const std::int64_t bad = turn(filled, Listed(filled, LANES<T>, rows, at), z, z);
        if (bad >= 0) return bad;
        for (int k = 0; k < filled; k++) {
            spread_out(rows[k], z + k * C);
            for (std::int64_t c = 0; c < C; c++) call.grad_intercept[c] += double(z[k * C + c]);
        }
        return -1;
    }

    // f(x, offset) for each stored number x of row i and the row of the (D, C) array `rows` that belongs to it.
    template <class F> void each_number(std::int64_t i, const T *rows, F f) const {
        const std::int64_t end = call.indptr[i + 1];
        for (std::int64_t k = call.indptr[i]; k < end; k++) {
            if (k + lead < last) {
                const char *row = (const char *)(rows + std::int64_t(call.indices[k + lead]) * C);
                for (std::int64_t byte = 0; byte < C * std::int64_t(sizeof(T)); byte += 64) __builtin_prefetch(row + byte);
            }
            f(call.data[k], std::int64_t(call.indices[k]) * C);
        }
    }

    void scores(std::int64_t i, T *zi) const {
        for (std::int64_t c = 0; c < C; c++) zi[c] = call.intercept[c];
        each_number(i, call.coef_t, [&](T x, std::int64_t at) { add_scaled(zi, x, call.coef_t + at, C); });
    }

    void spread_out(std::int64_t i, const T *gi) const {
        each_number(i, call.grad_coef_t, [&](T x, std::int64_t at) { add_scaled(call.grad_coef_t + at, x, gi, C); });
    }
};

template <class T> std::int64_t sparse(const SparseCall<T> &call) {
    return untempered(call.rows) ? Sparse<T, Scorer<T, Unit>>(call)() : Sparse<T, Scorer<T, Tempered<T>>>(call)();
}

// u of row i becomes scale r_i p_j (u_j - p'u), its p in the place of the targets. The mean is taken away twice: where p is nearly 1
// the first difference is rounding for the most part, and what the second leaves is right.
template <class T>
class Curvature {
   public:
    explicit Curvature(const Rule<T> &rule) : rule(rule) {}

    template <class Where> std::int64_t operator()(int count, Where where, const T *, T *u) const {
        for (int k = 0; k < count; k++) {
            const T *p = rule.rows.targets + where.row(k) * rule.C;
            T *v = u + where.at(k);
            const Vec<T> first = all(mean(p, v)), step = all(T(rule.step(where.row(k))));
            sweep<T>(rule.C, [&](std::int64_t j, auto part) { part.store(v + j, part.load(v + j, T(0)) - first); });
            const Vec<T> second = all(mean(p, v));
            sweep<T>(rule.C, [&](std::int64_t j, auto part) {
                part.store(v + j, (part.load(v + j, T(0)) - second) * part.load(p + j, T(0)) * step);
            });
        }
        return -1;
    }

   private:
    const Rule<T> &rule;

    T mean(const T *p, const T *v) const {
        Vec<T> sum{};
        sweep<T>(rule.C, [&](std::int64_t j, auto part) { sum = fma(part.load(p + j, T(0)), part.load(v + j, T(0)), sum); });
        return total<T>(sum);
    }
};

template <class T> std::int64_t sparse_curvature(const SparseCall<T> &call) { return Sparse<T, Curvature<T>>(call)(); }

}  // namespace SOFTGRAD_ISA
