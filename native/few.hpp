// The row formula of rule.hpp for rows of few classes: as many rows as there are lanes stand side by side, one row per lane,
// so that nothing is padded and the scalars of a row (its sum, its logarithm) are computed for all of them at once. A tile of
// rows goes through one step of the formula after the other: a step is a long chain for one group of rows, and the groups of a
// tile hide each other's waiting. Asking for the next tile's lines ahead was slower by a tenth: processors see what comes.
// Plain rows of small scores have a shorter way, flat.hpp, and the same bits on both.
#pragma once

#include "flat.hpp"

namespace SOFTGRAD_ISA {

// Which rows a tile is made of: row(k) is the number of the k-th, at(k) where its scores and its gradient start.
struct Run {        // rows one after the other, a multiple of LANES of them
    std::int64_t first, C;
    INLINE std::int64_t row(int k) const { return first + k; }
    INLINE std::int64_t at(int k) const { return (first + k) * C; }
};
// Any rows; both arrays have room for a multiple of LANES: lanes without a row repeat the last one, so that they hold nothing odd, and
// what is written twice is the same.
struct Listed {
    std::int64_t *rows, *starts;
    Listed(int count, int lanes, std::int64_t *rows, std::int64_t *starts) : rows(rows), starts(starts) {
        for (int k = count; k % lanes; k++) {
            rows[k] = rows[count - 1];
            starts[k] = starts[count - 1];
        }
    }
    INLINE std::int64_t row(int k) const { return rows[k]; }
    INLINE std::int64_t at(int k) const { return starts[k]; }
};

template <class T, class Heat>
class Few {
    static constexpr int L = LANES<T>, LD = LANES<double>;
    using V = Vec<T>;

   public:
    explicit Few(const Rule<T> &rule)
        : rule(rule), C(int(rule.C)), slope(rule.rows.formula.slope), heat(slope, rule.rows.formula.slope_rest) {}

    // Losses and, unless out is null, gradients of at most FEW_ROWS rows. Returns the first row without a softmax, or -1.
    template <class Where> std::int64_t operator()(int count, Where where, const T *scores, T *out) {
        for (int k = 0; k < count; k += L) {
            const T *row[L];
            for (int i = 0; i < L; i++) row[i] = scores + where.at(k + i);
            store(m + k, rows_to_columns<T>(row, C, z + k * C));
        }
        if (rule.mapped)
            for (int k = 0; k < count; k += L) map(k, where);
        Mask<T> good = ~Mask<T>{};
        if (rule.mapped)
            for (int k = 0; k < count; k += L) good &= sum<true>(k);
        else
            for (int k = 0; k < count; k += L) good &= sum<false>(k);
        if (!everywhere(good)) return first_bad(count, where);
        if (rule.spread)
            for (int k = 0; k < count; k += L) spread(k, where, out);
        else
            plain(count, where, out);
        put_losses(count, where);
        if (rule.around) put_around(count, where, out);
        return -1;
    }

   private:
    const Rule<T> &rule;
    const int C;
    const double slope;
    const Heat heat;
    alignas(64) T z[FEW * FEW_ROWS], e[FEW * FEW_ROWS], a[FEW * L];                     // [group][class][lane]
    alignas(64) T m[FEW_ROWS], others[FEW_ROWS], c[FEW_ROWS], odds[FEW_ROWS];
    alignas(64) T weights[FEW_ROWS], crosses[FEW_ROWS];                                 // A and sum_j a_j (m - x_j) SMALL
    alignas(64) T lo[FEW * FEW_ROWS], m_lo[FEW_ROWS];                                   // where rows are mapped: z + lo, m + m_lo

    // z becomes x, with lo.
    template <class Where> void map(int first, Where where) {
        T *z = this->z + first * C, *lo = this->lo + first * C;
        for (int c = 0; c < C; c++) {
            const Pair<T> x = sum_of<T>(load(z + c * L), all(rule.shift[c]));
            store(z + c * L, x.hi);
            store(lo + c * L, x.lo + rule.shift_lo[c]);
        }
        if (rule.rows.moved)
            for (int k = 0; k < L; k++) {
                const int at = int(rule.rows.labels[where.row(first + k)]) * L + k;
                rule.move(where.row(first + k), z[at], lo[at]);
            }
        V m = all(T(-INFINITE)), m_lo = m;
        for (int c = 0; c < C; c++) m = larger(load(z + c * L), m);
        for (int c = 0; c < C; c++) m_lo = load(z + c * L) == m ? larger(load(lo + c * L), m_lo) : m_lo;
        store(this->m + first, m);
        store(this->m_lo + first, m_lo);
    }

    // Terms, c and the sum of the others as in many.hpp, in two partial sums of at most 16 terms: of the largest term so far and the next
    // one, the smaller is added.
    template <bool MAPPED> INLINE Mask<T> sum(int k) {
        const V m = load(this->m + k);
        V sums[2] = {}, tops[2] = {};
        const T *z = this->z + k * C, *lo = this->lo + k * C, *end = z + C * L;
        T *e = this->e + k * C;
        const Level<T> level(m, heat);
        for (; z + 2 * L <= end; z += 2 * L, lo += 2 * L, e += 2 * L) add_terms<MAPPED, 2>(z, lo, e, m, m_lo + k, level, sums, tops);
        if (z < end) add_terms<MAPPED, 1>(z, lo, e, m, m_lo + k, level, sums, tops);
        const V others = sums[0] + sums[1] + smaller(tops[0], tops[1]);
        store(this->others + k, others);
        store(c + k, larger(tops[0], tops[1]));
        return (m > T(-INFINITE)) & (m < T(INFINITE)) & (others >= T(0));
    }

    template <bool MAPPED, int N>
    INLINE void add_terms(const T *z, const T *lo, T *e, V m, const T *m_lo, const Level<T> &level, V (&sums)[2], V (&tops)[2]) const {
        V y[N];
        if constexpr (MAPPED) {
            Pair<T> d[N];
            for (int i = 0; i < N; i++) {
                d[i] = below<T>(load(z + i * L), m);
                d[i].lo += load(lo + i * L) - load(m_lo);
                d[i] = heat(d[i]);
            }
            exponentials<T>(d, y);
        } else {
            V x[N];
            for (int i = 0; i < N; i++) x[i] = load(z + i * L);
            exponentials<T>(x, level, heat, y);
        }
        for (int i = 0; i < N; i++) {
            store(e + i * L, y[i]);
            sums[i] += smaller(tops[i], y[i]);
            tops[i] = larger(tops[i], y[i]);
        }
    }

    template <class Where> std::int64_t first_bad(int count, Where where) const {
        for (int k = 0; k < count; k++)
            if (!(m[k] > -INFINITE && m[k] < INFINITE && others[k] >= 0)) return where.row(k);
        return -1;
    }

    // r (A log1p(odds) + slope cross); a row whose a are all 0 costs nothing, whatever its scores.
    template <class Where> void put_losses(int count, Where where) const {
        const Doubles cooled = all(slope / SMALL);
        alignas(64) T logs[FEW_ROWS];
        alignas(64) double losses[FEW_ROWS];
        for (int k = 0; k < count; k += L) store(logs + k, log1p_of<T>(load(odds + k)));
        for (int k = 0; k < count; k += LD) {
            const Doubles A = wide(weights + k), loss = A * wide(logs + k) + wide(crosses + k) * cooled;
            store(losses + k, without(A == 0.0, loss));
        }
        double *to = rule.rows.losses;
        const double *r = rule.around ? nullptr : rule.rows.row_weight;
        for (int k = 0; k < count; k++) to[where.row(k)] = r ? r[where.row(k)] * losses[k] : losses[k];
    }

    // What stands around l, row by row: losses are l so far, gradients those of r l. A curve falls with exp(-l), so that the absolute
    // error of a large l matters: that of a plain label is worked out once more in double.
    template <class Where> void put_around(int count, Where where, T *out) const {
        for (int k = 0; k < count; k++) {
            const std::int64_t i = where.row(k);
            const double log_s = log1p_of<double>(all(double(others[k]) / double(c[k])))[0];
            const double top = double(m[k]) + (rule.mapped ? double(m_lo[k]) : 0.0);
            const double l = rule.spread ? rule.rows.losses[i] : labels_own(k, i, log_s);
            const Around it = rule.around_it(i, l, slope * top + log_s);
            rule.rows.losses[i] = it.loss;
            if (!out) continue;
            const T factor = T(it.factor), lift = T(it.lift / (double(c[k]) + double(others[k]))), *e = this->e + k / L * L * C + k % L;
            T *g = out + where.at(k);
            for (int j = 0; j < C; j++) g[j] = g[j] * factor + e[j * L] * lift;
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

    // A label's numbers are picked out, and what stands for its e is put in its place, one by one: for all rows of the tile at once,
    // so that no vector waits for what was just written in its middle.
    template <class Where> INLINE void plain(int count, Where where, T *out) {
        alignas(64) T zy[FEW_ROWS], lo_y[FEW_ROWS], ey[FEW_ROWS], gy[FEW_ROWS], factors[FEW_ROWS];
        int at[FEW_ROWS];
        const std::int64_t *labels = rule.rows.labels;
        for (int first = 0; first < count; first += L) {
            const T *z = this->z + first * C, *e = this->e + first * C;
            for (int k = 0; k < L; k++) {
                const int j = int(labels[where.row(first + k)]) * L + k;
                at[first + k] = j;
                zy[first + k] = z[j];
                ey[first + k] = e[j];
            }
        }
        if (rule.mapped)
            for (int first = 0; first < count; first += L)
                for (int k = 0; k < L; k++) lo_y[first + k] = lo[first * C + at[first + k]];
        for (int first = 0; first < count; first += L)
            for (int k = first; k < first + L; k++) e[first * C + at[k]] = 0;
        for (int k = 0; k < count; k += L) {
            const V w = columns_total<T>(e + k * C, C), y = load(ey + k), A = shares(k, where);
            V far = distance_of<T>(load(zy + k), load(m + k));
            if (rule.mapped) far += (load(m_lo + k) - load(lo_y + k)) * T(SMALL);
            const Mask<T> near = far * T(slope) < T(SMALL * Exponent<T>::ratio);
            store(weights + k, A);
            store(odds + k, near ? w / y : load(others + k) / load(c + k));
            store(crosses + k, near ? V{} : V(A * far));
            store(factors + k, V(steps(k, where) * A / (w + y)));
            store(gy + k, -w);
        }
        if (!out) return;
        put(count, at, gy);
        put_rows(count, where, factors, out);
        if (rule.around) put(count, at, ey);
    }

    template <class Where> INLINE void put_rows(int count, Where where, const T *factors, T *out) const {
        for (int k = 0; k < count; k += L) {
            T *row[L];
            for (int i = 0; i < L; i++) row[i] = out + where.at(k + i);
            const V factor = load(factors + k);
            const T *e = this->e + k * C;
            columns_to_rows<T>([&](int c) { return V(load(e + c * L) * factor); }, C, row);
        }
    }

    INLINE void put(int count, const int *at, const T *from) {
        for (int first = 0; first < count; first += L) {
            T *e = this->e + first * C;
            for (int k = first; k < first + L; k++) e[at[k]] = from[k];
        }
    }

    template <class Where> INLINE V shares(int first, Where where) const {
        return rule.shares([&](int k) { return where.row(first + k); });
    }

    template <class Where> INLINE V steps(int first, Where where) const {
        if (!rule.rows.row_weight) return all(T(rule.unit));
        return gathered<T>([&](int k) { return T(rule.step(where.row(first + k))); });
    }

    template <class Where> void turn_in_targets(int first, Where where) {
        for (int k = 0; k < L; k++) {
            const std::int64_t i = where.row(first + k);
            if (rule.rows.labels) {
                for (int c = 0; c < C; c++) a[c * L + k] = rule.base[c];
                a[rule.rows.labels[i] * L + k] += rule.keep[rule.rows.labels[i]];
            } else {
                const T *q = rule.rows.targets + i * C;
                for (int c = 0; c < C; c++) a[c * L + k] = rule.keep[c] * q[c] + rule.base[c];
            }
        }
    }

    template <class Where> void spread(int first, Where where, T *out) {
        turn_in_targets(first, where);
        const T *e = this->e + first * C;
        const V m = load(this->m + first), wrong = load(others + first), top = load(c + first);
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
        store(odds + first, wrong / top);
        store(crosses + first, V((far[0] + far[1]) + (far[2] + far[3])));
        if (!out) return;
        const V inverse = 1 / (top + wrong), top_left = wrong * inverse, step = steps(first, where);
        const auto gradient = [&](int c) {
            const V x = load(e + c * L), q = load(a + c * L), p = x * inverse;
            const V left = x == top ? top_left : 1 - p;
            const V off = q == largest ? others : A - q;
            return V((p * off - q * left) * step);
        };
        T *row[L];
        for (int i = 0; i < L; i++) row[i] = out + where.at(first + i);
        columns_to_rows<T>(gradient, C, row);
    }
};

}  // namespace SOFTGRAD_ISA
