// The row formula of rule.hpp for rows of few classes: as many rows as there are lanes stand side by side, one row per lane,
// so that nothing is padded and the scalars of a row (its sum, its logarithm) are computed for all of them at once. A tile of
// rows goes through one step of the formula after the other: a step is a long chain for one group of rows, and the groups of a
// tile hide each other's waiting.
#pragma once

#include "exponential.hpp"
#include "rule.hpp"
#include "turn.hpp"

namespace SOFTGRAD_ISA {

constexpr int FEW = 32, FEW_ROWS = 64;

template <class T, class Heat>
class Few {
    static constexpr int L = LANES<T>, LD = LANES<double>;
    using V = Vec<T>;

   public:
    explicit Few(const Rule<T> &rule)
        : rule(rule), C(int(rule.C)), slope(rule.rows.formula.slope), heat(slope, rule.rows.formula.slope_rest) {}

    // Losses and, unless out is null, gradients of at most FEW_ROWS rows: row[k] is the number of the k-th, at[k] where its scores
    // and its gradient start. Both arrays have room for a multiple of LANES: lanes without a row repeat the last one, so that they
    // hold nothing odd; what is written twice is the same. Returns the first row without a softmax, or -1.
    std::int64_t operator()(int count, std::int64_t *row, std::int64_t *at, const T *scores, T *out) {
        for (int k = count; k % L; k++) {
            row[k] = row[count - 1];
            at[k] = at[count - 1];
        }
        for (int k = 0; k < count; k += L) store(m + k, rows_to_columns<T>(scores, at + k, C, z + k * C));
        if (rule.mapped)
            for (int k = 0; k < count; k += L) map(k, row + k);
        Mask<T> good = ~Mask<T>{};
        if (rule.mapped)
            for (int k = 0; k < count; k += L) good &= sum<true>(k);
        else
            for (int k = 0; k < count; k += L) good &= sum<false>(k);
        if (!everywhere(good)) return first_bad(count, row);
        for (int k = 0; k < count; k += L)
            if (rule.spread)
                spread(k, row + k, at + k, out);
            else
                plain(k, row + k, at + k, out);
        put_losses(count, row);
        if (rule.around) put_around(count, row, at, out);
        return -1;
    }

   private:
    const Rule<T> &rule;
    const int C;
    const double slope;
    const Heat heat;
    alignas(64) T z[FEW * FEW_ROWS], e[FEW * FEW_ROWS], a[FEW * L];                     // [group][class][lane]
    alignas(64) T m[FEW_ROWS], s[FEW_ROWS], weights[FEW_ROWS], crosses[FEW_ROWS];       // A and sum_j a_j (m - x_j) SMALL
    alignas(64) T lo[FEW * FEW_ROWS], m_lo[FEW_ROWS];                                   // where rows are mapped: z + lo, m + m_lo

    // z becomes x, with lo.
    void map(int first, const std::int64_t *row) {
        T *z = this->z + first * C, *lo = this->lo + first * C;
        for (int c = 0; c < C; c++) {
            const Pair<T> x = sum_of<T>(load(z + c * L), all(rule.shift[c]));
            store(z + c * L, x.hi);
            store(lo + c * L, x.lo + rule.shift_lo[c]);
        }
        if (rule.rows.moved)
            for (int k = 0; k < L; k++) {
                const int at = int(rule.rows.labels[row[k]]) * L + k;
                rule.move(row[k], z[at], lo[at]);
            }
        V m = all(T(-INFINITE)), m_lo = m;
        for (int c = 0; c < C; c++) m = larger(load(z + c * L), m);
        for (int c = 0; c < C; c++) m_lo = load(z + c * L) == m ? larger(load(lo + c * L), m_lo) : m_lo;
        store(this->m + first, m);
        store(this->m_lo + first, m_lo);
    }

    // s in two partial sums of at most 16 terms: of the largest term so far and the next one, the smaller is added.
    template <bool MAPPED> INLINE Mask<T> sum(int k) {
        const int classes = C;
        const V m = load(this->m + k);
        V sums[2] = {}, tops[2] = {};
        int c = 0;
        for (; c + 2 <= classes; c += 2) add_terms<MAPPED, 2>(k, c, m, sums, tops);
        if (c < classes) add_terms<MAPPED, 1>(k, c, m, sums, tops);
        const V s = sums[0] + sums[1] + smaller(tops[0], tops[1]);
        store(this->s + k, s);
        return (m > T(-INFINITE)) & (m < T(INFINITE)) & (s >= T(0));
    }

    template <bool MAPPED, int N> INLINE void add_terms(int k, int c, V m, V (&sums)[2], V (&tops)[2]) {
        const T *z = this->z + k * C + c * L, *lo = this->lo + k * C + c * L;
        T *e = this->e + k * C + c * L;
        V y[N];
        Pair<T> d[N];
        for (int i = 0; i < N; i++) {
            d[i] = below<T>(load(z + i * L), m);
            if constexpr (MAPPED) d[i].lo += load(lo + i * L) - load(m_lo + k);
            d[i] = heat(d[i]);
        }
        exponentials<T>(d, y);
        for (int i = 0; i < N; i++) {
            store(e + i * L, y[i]);
            sums[i] += smaller(tops[i], y[i]);
            tops[i] = larger(tops[i], y[i]);
        }
    }

    std::int64_t first_bad(int count, const std::int64_t *row) const {
        for (int k = 0; k < count; k++)
            if (!(m[k] > -INFINITE && m[k] < INFINITE && s[k] >= 0)) return row[k];
        return -1;
    }

    // r (A log1p(s) + slope cross); a row whose a are all 0 costs nothing, whatever its scores.
    void put_losses(int count, const std::int64_t *row) const {
        const Doubles cooled = all(slope / SMALL);
        alignas(64) T logs[FEW_ROWS];
        alignas(64) double losses[FEW_ROWS];
        for (int k = 0; k < count; k += L) store(logs + k, log1p_of<T>(load(s + k)));
        for (int k = 0; k < count; k += LD) {
            const Doubles A = wide(weights + k), loss = A * wide(logs + k) + wide(crosses + k) * cooled;
            store(losses + k, without(A == 0.0, loss));
        }
        for (int k = 0; k < count; k++) rule.rows.losses[row[k]] = (rule.around ? 1.0 : rule.row_weight(row[k])) * losses[k];
    }

    // What stands around l, row by row: losses are l so far, gradients those of r l. A curve falls with exp(-l), so that the absolute
    // error of a large l matters: that of a plain label is worked out once more in double.
    void put_around(int count, const std::int64_t *row, const std::int64_t *at, T *out) const {
        for (int k = 0; k < count; k++) {
            const std::int64_t i = row[k];
            const double log_s = log1p_of<double>(all(double(s[k])))[0], top = double(m[k]) + (rule.mapped ? double(m_lo[k]) : 0.0);
            const double l = rule.spread ? rule.rows.losses[i] : labels_own(k, i, log_s);
            const Around it = rule.around_it(i, l, slope * top + log_s);
            rule.rows.losses[i] = it.loss;
            if (!out) continue;
            const T factor = T(it.factor), lift = T(it.lift / (1 + double(s[k]))), *e = this->e + k / L * L * C + k % L;
            T *g = out + at[k];
            for (int c = 0; c < C; c++) g[c] = g[c] * factor + e[c * L] * lift;
            if (rule.rows.moved) g[rule.rows.labels[i]] *= T(rule.label_slope(i));
        }
    }

    double labels_own(int k, std::int64_t i, double log_s) const {
        const std::int64_t y = rule.rows.labels[i], at = k / L * L * C + y * L + k % L;
        const double below = double(m[k]) - double(z[at]), below_lo = rule.mapped ? double(m_lo[k]) - double(lo[at]) : 0.0;
        const double ay = double(rule.keep[y]);
        return ay == 0 ? 0.0 : ay * (log_s + slope * (below + below_lo));
    }

    // (m - x_c) SMALL of column c of a group.
    INLINE V distance(int first, V m, int c) const {
        const V far = distance_of<T>(load(z + first * C + c * L), m);
        return rule.mapped ? far + (load(m_lo + first) - load(lo + first * C + c * L)) * T(SMALL) : far;
    }

    INLINE void plain(int first, const std::int64_t *row, const std::int64_t *at, T *out) {
        const T *z = this->z + first * C, *keep = rule.keep;
        T *e = this->e + first * C;
        const std::int64_t *labels = rule.rows.labels;
        const V m = load(this->m + first), s = load(this->s + first);
        std::int64_t y[L];
        for (int k = 0; k < L; k++) y[k] = labels[row[k]];
        const V A = gathered<T>([&](int k) { return keep[y[k]]; });
        const V zy = gathered<T>([&](int k) { return z[y[k] * L + k]; });
        V far = distance_of<T>(zy, m);
        Mask<T> top = zy == m;
        if (rule.mapped) {
            const V m_lo = load(this->m_lo + first), lo_y = gathered<T>([&](int k) { return lo[(first * C) + y[k] * L + k]; });
            far += (m_lo - lo_y) * T(SMALL);
            top &= lo_y == m_lo;
        }
        store(weights + first, A);
        store(crosses + first, V(A * far));
        if (!out) return;
        const V ey = gathered<T>([&](int k) { return e[y[k] * L + k]; });
        const V left = top ? s : 1 + (s - ey);
        const V factor = steps(row) * A / (1 + s), gy = -factor * left;
        columns_to_rows<T>([&](int c) { return V(load(e + c * L) * factor); }, at, C, out);
        for (int k = 0; k < L; k++) out[at[k] + y[k]] = gy[k];
    }

    V steps(const std::int64_t *row) const {
        return gathered<T>([&](int k) { return T(rule.step(row[k])); });
    }

    void turn_in_targets(const std::int64_t *row) {
        for (int k = 0; k < L; k++) {
            const std::int64_t i = row[k];
            if (rule.rows.labels) {
                for (int c = 0; c < C; c++) a[c * L + k] = rule.base[c];
                a[rule.rows.labels[i] * L + k] += rule.keep[rule.rows.labels[i]];
            } else {
                const T *q = rule.rows.targets + i * C;
                for (int c = 0; c < C; c++) a[c * L + k] = rule.keep[c] * q[c] + rule.base[c];
            }
        }
    }

    void spread(int first, const std::int64_t *row, const std::int64_t *at, T *out) {
        turn_in_targets(row);
        const T *e = this->e + first * C;
        const V m = load(this->m + first), s = load(this->s + first);
        V largest{}, rest[4] = {}, far[4] = {};
        Mask<T> ties{};
        for (int c = 0; c < C; c++) largest = larger(load(a + c * L), largest);
        for (int c = 0; c < C; c++) {
            V q = load(a + c * L);
            far[c & 3] += q > T(0) ? q * distance(first, m, c) : V{};
            rest[c & 3] += q == largest ? V{} : q;
            ties -= q == largest;
        }
        const V others = (rest[0] + rest[1]) + (rest[2] + rest[3]) + __builtin_convertvector(ties - 1, V) * largest;
        const V A = others + largest;
        store(weights + first, A);
        store(crosses + first, V((far[0] + far[1]) + (far[2] + far[3])));
        if (!out) return;
        const V inverse = 1 / (1 + s), top_left = s * inverse, step = steps(row);
        const auto gradient = [&](int c) {
            const V x = load(e + c * L), q = load(a + c * L), p = x * inverse;
            const V left = x == T(1) ? top_left : 1 - p;
            const V off = q == largest ? others : A - q;
            return V((p * off - q * left) * step);
        };
        columns_to_rows<T>(gradient, at, C, out);
    }
};

}  // namespace SOFTGRAD_ISA
