// The row formula of rule.hpp for rows of few classes: as many rows as there are lanes stand side by side, one row per lane,
// so that nothing is padded and the scalars of a row (its sum, its logarithm) are computed for all of them at once.
#pragma once

#include "exponential.hpp"
#include "rule.hpp"
#include "turn.hpp"

namespace SOFTGRAD_ISA {

constexpr int FEW = 32;

// Up to LANES rows that count. Lanes without a row repeat the first one, so that they hold nothing odd.
template <class T> struct Group {
    int count = 0;
    std::int64_t row[LANES<T>];
    const T *z[LANES<T>];
    T *g[LANES<T>];
};

template <class T, class Heat>
class Few {
    static constexpr int L = LANES<T>, C_MAX = FEW;
    using V = Vec<T>;

   public:
    explicit Few(const Rule<T> &rule) : rule(rule), C(int(rule.C)), heat(rule.rows.temperature) {}

    // Losses and gradients of the group; the first of its rows without a softmax, or -1.
    std::int64_t operator()(const Group<T> &group) {
        rows_to_columns<T>(group.z, C, z);
        sum();
        const Mask<T> good = (m > T(-INFINITE)) & (m < T(INFINITE)) & (s >= T(0));
        for (int k = 0; k < group.count; k++)
            if (!good[k]) return group.row[k];
        if (rule.spread)
            spread(group);
        else
            plain(group);
        if (group.g[0]) columns_to_rows<T>(e, C, group.count, group.g);
        return -1;
    }

   private:
    const Rule<T> &rule;
    const int C;
    const Heat heat;
    V m, s;
    alignas(64) T z[C_MAX * L], e[C_MAX * L], a[C_MAX * L];

    // Two partial sums of at most 16 terms. An odd number of classes is made even by an impossible one.
    void sum() {
        V sums[2] = {};
        Mask<T> ties{};
        m = load(z);
        for (int c = 1; c < C; c++) m = larger(load(z + c * L), m);
        if (C % 2) store(z + C * L, all(T(-INFINITE)));
        for (int c = 0; c < C; c += 2) {
            V x[2], y[2];
            Pair<T> d[2];
            for (int i = 0; i < 2; i++) d[i] = heat(below<T>(x[i] = load(z + (c + i) * L), m));
            exponentials<T>(d, y);
            for (int i = 0; i < 2; i++) {
                const Mask<T> top = x[i] == m;
                sums[i] += without(top, y[i]);
                ties -= top;
                store(e + (c + i) * L, y[i]);
            }
        }
        s = sums[0] + sums[1] + __builtin_convertvector(ties - 1, V);
    }

    // r (A log1p(s) + cross / T) in double; a row whose a are all 0 costs nothing, whatever its scores.
    void put_losses(const Group<T> &group, V A, V cross) const {
        constexpr int LD = LANES<double>;
        const Doubles cooled = all(1 / (rule.rows.temperature * SMALL));
        double sums[L], As[L], crosses[L], losses[L];
        store_wide(sums, s);
        store_wide(As, A);
        store_wide(crosses, cross);
        for (int k = 0; k < L; k += LD) {
            const Doubles a = load(As + k), loss = a * log1p_of(load(sums + k)) + load(crosses + k) * cooled;
            store(losses + k, without(a == 0.0, loss));
        }
        for (int k = 0; k < group.count; k++) rule.rows.losses[group.row[k]] = rule.row_weight(group.row[k]) * losses[k];
    }

    void plain(const Group<T> &group) {
        T ay[L], r[L], zy[L], ey[L], gy[L];
        int at[L];
        for (int k = 0; k < L; k++) {
            const std::int64_t i = group.row[k], y = rule.rows.labels[i];
            at[k] = int(y) * L + k;
            ay[k] = rule.keep[y];
            r[k] = T(rule.row_weight(i));
            zy[k] = z[at[k]];
            ey[k] = e[at[k]];
        }
        const V A = load(ay);
        put_losses(group, A, A * distance_of<T>(load(zy), m));
        if (!group.g[0]) return;
        const Mask<T> top = load(zy) == m;
        const V factor = load(r) * A * T(rule.rows.scale / rule.rows.temperature) / (1 + s);
        const V left = top ? s : 1 + (s - load(ey));
        for (int c = 0; c < C; c++) store(e + c * L, load(e + c * L) * factor);
        store(gy, -factor * left);
        for (int k = 0; k < L; k++) e[at[k]] = gy[k];
    }

    void turn_in_targets(const Group<T> &group) {
        for (int k = 0; k < L; k++) {
            const std::int64_t i = group.row[k];
            if (rule.rows.labels) {
                for (int c = 0; c < C; c++) a[c * L + k] = rule.base[c];
                a[rule.rows.labels[i] * L + k] += rule.keep[rule.rows.labels[i]];
            } else {
                const T *q = rule.rows.targets + i * C;
                for (int c = 0; c < C; c++) a[c * L + k] = rule.keep[c] * q[c] + rule.base[c];
            }
        }
    }

    void spread(const Group<T> &group) {
        turn_in_targets(group);
        V largest{}, rest[4] = {}, far[4] = {};
        Mask<T> ties{};
        for (int c = 0; c < C; c++) largest = larger(load(a + c * L), largest);
        for (int c = 0; c < C; c++) {
            V q = load(a + c * L);
            far[c & 3] += q > T(0) ? q * distance_of<T>(load(z + c * L), m) : V{};
            rest[c & 3] += q == largest ? V{} : q;
            ties -= q == largest;
        }
        const V others = (rest[0] + rest[1]) + (rest[2] + rest[3]) + __builtin_convertvector(ties - 1, V) * largest;
        const V cross = (far[0] + far[1]) + (far[2] + far[3]), A = others + largest;
        put_losses(group, A, cross);
        if (group.g[0]) spread_gradient(group, A, others, largest);
    }

    void spread_gradient(const Group<T> &group, V A, V others, V largest) {
        T steps[L];
        for (int k = 0; k < L; k++) steps[k] = T(rule.step(group.row[k]));
        const V inverse = 1 / (1 + s), top_left = s * inverse, step = load(steps);
        for (int c = 0; c < C; c++) {
            V x = load(e + c * L), q = load(a + c * L), p = x * inverse;
            V left = x == T(1) ? top_left : 1 - p;
            V off = q == largest ? others : A - q;
            store(e + c * L, (p * off - q * left) * step);
        }
    }
};

}  // namespace SOFTGRAD_ISA
