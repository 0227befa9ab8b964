// The row formula of rule.hpp for rows of few classes that follow each other in memory, with plain labels that all count once and scores that
// are small, as most are. Then no row needs a level of its own: the exponentials are taken of the numbers as they lie, and no row is turned
// into a column and back. With the label's own e_y left out of the sum,
//   w = sum_{k != y} e_k,   l = A log1p(w / e_y),   g_j = step A e_j / (w + e_y),   g_y = -step A w / (w + e_y)
// The bits are those of few.hpp, which takes what is refused here.
#pragma once

#include "exponential.hpp"
#include "rule.hpp"
#include "turn.hpp"

namespace SOFTGRAD_ISA {

template <class T, class Heat>
class Flat {
    static constexpr int L = LANES<T>, LD = LANES<double>;
    using V = Vec<T>;

   public:
    explicit Flat(const Rule<T> &rule)
        : rule(rule), C(int(rule.C)), heat(rule.rows.formula.slope, rule.rows.formula.slope_rest), usable(plain_rows()) {
        for (int v = 0; v < C && usable; v++) {
            for (int i = 0; i < L; i++) owners[v][i] = (v * L + i) / C;
            owners[v] = selector(owners[v]);
        }
    }

    // Losses and, unless out is null, gradients of `count` rows, a multiple of LANES; false, and nothing is written, where they are refused.
    bool operator()(int count, std::int64_t first, const T *scores, T *out) {
        if (!usable || !exponentials(count * C, scores + first * C)) return false;
        const std::int64_t *labels = rule.rows.labels + first;
        for (int k = 0; k < count; k++) {
            T &mine = e[k * C + int(labels[k])];
            own[k] = mine;
            mine = 0;
        }
        Mask<T> good = ~Mask<T>{};
        for (int k = 0; k < count; k += L) {
            const V w = rows_total<T>(e + k * C, C);
            store(others + k, w);
            good &= w + load(own + k) >= T(0);      // not NaN
        }
        if (!everywhere(good)) return false;
        put_losses(count, first, rule.rows.losses + first);
        if (out) put_gradients(count, first, out + first * C);
        return true;
    }

   private:
    const Rule<T> &rule;
    const int C;
    const Heat heat;
    const bool usable;
    Mask<T> owners[FEW];        // which of L rows the lanes of their v-th vector belong to
    alignas(64) T e[FEW * FEW_ROWS + STRIP<T>], own[FEW_ROWS], others[FEW_ROWS];

    // Steps so small or large that they meet the ends of T when divided by e^(2 small) are none of ours.
    bool plain_rows() const {
        if (C > FEW || rule.spread || rule.mapped || rule.around || rule.rows.row_weight) return false;
        for (int c = 0; c < C; c++)
            if (const double step = rule.unit * double(rule.keep[c]); step != 0 && !(step > 0x1p-60 && step < 0x1p60)) return false;
        return true;
    }

    INLINE bool exponentials(int n, const T *z) {
        V largest{};
        int j = 0;
        for (; j + 2 * L <= n; j += 2 * L) exponentials<2>(z + j, e + j, largest);
        for (; j < n; j += L) exponentials<1>(z + j, e + j, largest);
        return everywhere(largest < Exponent<T>::small);
    }

    template <int N> INLINE void exponentials(const T *z, T *e, V &largest) const {
        V x[N], u[N], y[N];
        for (int i = 0; i < N; i++) {
            x[i] = load(z + i * L);
            u[i] = heat.high(x[i]);
            largest = larger(magnitude(u[i]), largest);
        }
        exponentials_of_small<T>(x, u, heat, y);
        for (int i = 0; i < N; i++) store(e + i * L, y[i]);
    }

    INLINE V shares(std::int64_t first) const {
        return rule.shares([&](int k) { return first + k; });
    }

    INLINE void put_losses(int count, std::int64_t first, double *losses) const {
        alignas(64) T logs[FEW_ROWS], weights[FEW_ROWS];
        for (int k = 0; k < count; k += L) {
            store(logs + k, log1p_of<T>(load(others + k) / load(own + k)));
            store(weights + k, shares(first + k));
        }
        for (int k = 0; k < count; k += LD) store(losses + k, wide(weights + k) * wide(logs + k));
    }

    INLINE void put_gradients(int count, std::int64_t first, T *out) {
        const std::int64_t *labels = rule.rows.labels + first;
        for (int k = 0; k < count; k++) e[k * C + int(labels[k])] = -others[k];
        for (int k = 0; k < count; k += L) {
            const V factors = T(rule.unit) * shares(first + k) / (load(others + k) + load(own + k));
            const T *from = e + k * C;
            T *to = out + k * C;
            for (int v = 0; v < C; v++) store(to + v * L, load(from + v * L) * picked(factors, owners[v]));
        }
    }
};

}  // namespace SOFTGRAD_ISA
