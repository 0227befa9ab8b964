// The row formula of rule.hpp for rows of many classes: the lanes run along the classes of one row, which stays in the
// first-level cache through its sweeps (maximum, unless the scores are small; exponentials and their sum; gradient). The terms lie where the
// gradient goes, or, where that goes past the caches, in a row of their own; with such a row for all, rows of 32 bytes a vector were up to a
// fifth slower. Asking for the lines of the gradient ahead changed nothing.
#pragma once

#include "rule.hpp"
#include "small.hpp"
#include "terms.hpp"

namespace SOFTGRAD_ISA {

// Of the a_j of one row: their sum A, their largest, and the sum of the others than that one.
template <class T> struct Shares { double A, others; T largest; };

template <class T> Shares<T> shares_of(const T *a, std::int64_t C) {
    constexpr std::int64_t block = BLOCK * LANES<T>;
    const T largest = maximum(a, C);
    Tally<T> rest;
    Mask<T> ties{};
    for (std::int64_t b = 0; b < C; b += block) {
        Vec<T> sum{};
        sweep<T>(C - b < block ? C - b : block, [&](std::int64_t j, auto part) {
            Vec<T> q = part.load(a + b + j, T(-1));
            sum += q == largest || q < T(0) ? Vec<T>{} : q;
            ties += q == largest;
        });
        rest.add(sum);
    }
    std::int64_t count = 0;
    for (int i = 0; i < LANES<T>; i++) count -= ties[i];
    const double others = rest.sum() + double(count - 1) * double(largest);
    return {others + double(largest), others, largest};
}

// The same for a label, whose a_j are base_j but at the label: nothing to add up for a row.
template <class T> class LabelShares {
   public:
    LabelShares(const T *base, std::int64_t C) : base(base), first(0), rest(C) {
        long double before = 0, after = 0;      // sums from both ends, so that none is a difference; plain doubles were 100 eps off
        for (std::int64_t j = 0; j < C; before += base[j++]) rest[j] = double(before);
        for (std::int64_t j = C - 1; j >= 0; after += base[j--]) rest[j] = double(rest[j] + after);
        for (std::int64_t j = 1; j < C; j++) first = base[j] > base[first] ? j : first;
    }

    Shares<T> operator()(std::int64_t y, T ay) const {
        if (ay >= base[first]) return {rest[y] + double(ay), rest[y], ay};
        const double others = rest[first] + (double(ay) - double(base[y]));
        return {others + double(base[first]), others, base[first]};
    }

    std::int64_t heaviest() const { return first; }     // the class of the largest base

   private:
    const T *base;
    std::int64_t first;
    Buffer<double> rest;
};

// sum_j a_j (m - x_j)
template <class T, class Row> double cross_of(const T *a, Row row, std::int64_t C) {
    constexpr std::int64_t block = BLOCK * LANES<T>;
    Tally<T> distance;
    for (std::int64_t b = 0; b < C; b += block) {
        Vec<T> far{};
        sweep<T>(C - b < block ? C - b : block, [&](std::int64_t j, auto part) {
            Vec<T> q = part.load(a + b + j, T(0));
            far += q > T(0) ? q * row.distance(b + j, part) : Vec<T>{};     // an impossible class without weight: 0 inf = 0
        });
        distance.add(far);
    }
    return distance.sum() / SMALL;
}

template <class T, class Heat>
class Many {
   public:
    explicit Many(const Rule<T> &rule)
        : rule(rule), slope(rule.rows.formula.slope), heat(slope, rule.rows.formula.slope_rest),
          label_shares(rule.base, rule.spread ? rule.C : 0), past(WIDTH == 64 && rule.rows.past), scratch(past ? rule.C : 0),
          a(rule.spread ? rule.C : 0), x(rule.mapped ? rule.C : 0), lo(rule.mapped ? rule.C : 0) {
        if (rule.spread)
            for (std::int64_t j = 0; j < rule.C; j++) a[j] = rule.base[j];
        if (rule.mapped)
            for (std::int64_t j = 0; j < rule.C; j++) lo[j] = 0;
    }

    // Row i: its loss, and its gradient in g if there is one; false if the row has no softmax.
    bool operator()(std::int64_t i, const T *z, T *g) {
        terms = g && past ? scratch : g;
        if (rule.rows.moved && !rule.spread) return apart(i, rule.rows.labels[i], z, g);
        if (rule.mapped) return mapped(i, z, g);
        if (rule.rows.labels) {
            const std::int64_t y = rule.rows.labels[i];
            const double own = double(z[y]);        // now: the sum may write over the scores
            Split e;
            if (!rule.spread && are_small(z, y, g, e)) return small(i, y, own, g, e);
            if (rule.spread && mostly_label(y) && are_small(z, y, g, e, Distances<T>(rule.base, z[y]))) return smoothed(i, y, own, g, e);
        }
        const T m = maximum(z, rule.C);
        return m > -INFINITE && m < INFINITE && formula(i, Given<T, Heat>{z, z + rule.C, all(m), heat}, g, double(m));
    }

   private:
    const Rule<T> &rule;
    const double slope;
    const Heat heat;
    const LabelShares<T> label_shares;
    const bool past;
    Buffer<T> scratch, a, x, lo;
    T *terms = nullptr;
    bool expected = true;

    // Whether the row's scores are small; then e has its sums. A row after one whose scores are small is taken to be so too, and seen to be
    // when its terms are there, unless they lie over the scores: a sweep is saved.
    template <class Aside = NoAside<T>> bool are_small(const T *z, std::int64_t y, const T *g, Split &e, Aside aside = {}) {
        if ((z == g || !expected) && !all_small(z, rule.C, heat)) return false;
        e = g ? split_of<true, T>(z, z + rule.C, rule.C, y, heat, terms, aside) : split_of<false, T>(z, z + rule.C, rule.C, y, heat, terms, aside);
        return expected = e.small;
    }

    bool mapped(std::int64_t i, const T *z, T *g) {
        const std::int64_t y = rule.rows.labels ? rule.rows.labels[i] : -1;
        if (rule.rows.formula.shift)
            sweep<T>(rule.C, [&](std::int64_t j, auto part) {
                const Pair<T> sum = sum_of<T>(part.load(z + j, T(0)), part.load(rule.shift + j, T(0)));
                part.store(x + j, sum.hi);
                part.store(lo + j, sum.lo + part.load(rule.shift_lo + j, T(0)));
            });
        else
            sweep<T>(rule.C, [&](std::int64_t j, auto part) { part.store(x + j, part.load(z + j, T(0))); });
        if (rule.rows.moved) rule.move(i, x[y], lo[y]);
        const T m = maximum<T>(x, rule.C);
        Vec<T> top_lo = all(T(-INFINITE));
        sweep<T>(rule.C, [&](std::int64_t j, auto part) {
            const Vec<T> here = part.load(lo + j, T(0));
            top_lo = part.load(x + j, T(-INFINITE)) == m ? larger(here, top_lo) : top_lo;
        });
        const T m_lo = highest<T>(top_lo)[0];
        const Mapped<T, Heat> row{x, lo, z + rule.C, all(m), all(m_lo), heat};
        const bool good = m > -INFINITE && m < INFINITE && formula(i, row, g, double(m) + double(m_lo));
        if (rule.rows.moved) lo[y] = 0;
        return good;
    }

    template <class Row> bool formula(std::int64_t i, Row row, T *g, double m) {
        const std::int64_t y = rule.rows.labels ? rule.rows.labels[i] : -1;
        return rule.spread ? spread(i, y, row, g, m) : plain(i, y, row, g, m);
    }

    // A moved label stands apart: the others, relative to their own maximum m, add up to O >= 1, and with d = u_y - m
    //   l = log(O + e^d) - d = log1p(O e^-d),   1 - p_y = O / (O + e^d),   p_j = e_j / (O + e^d)
    // To split the row at the label, or to copy the others, as was done before, cost up to half as much again.
    bool apart(std::int64_t i, std::int64_t y, const T *z, T *g) {
        const double own = rule.rows.moved[3 * i];
        if (!(own < INFINITE)) return false;
        Split e;
        if (sizeof(T) == 4 && are_small(z, y, g, e)) {      // relative to their own sum, whose logarithm has the digits of d in floats
            const double level = __builtin_log(e.others), rest = slope * rule.rows.moved[3 * i + 1] + rule.rows.formula.slope_rest * own;
            return e.others >= 0 && beside(i, y, g, {level, 0.0, e.others}, {slope * own - level + rest, 0.0});
        }
        const T m = highest_but(y, z);
        if (!(m < INFINITE)) return false;
        if (!(m > -INFINITE)) return alone(i, y, z, g);
        const Sums sum = sums(Others<T, Heat>{{z, z + rule.C, all(m), heat}, y}, g);
        return sum.others >= 0 && beside(i, y, g, {slope * double(m), sum.s(), sum.c}, difference(i, own, double(m)));
    }

    // The others' terms, which are relative to e^level, add up to c (1 + s).
    struct Aside { double level, s, c; };
    struct Difference { double hi, lo; };
    bool beside(std::int64_t i, std::int64_t y, T *g, Aside others, Difference d) {
        const bool top = d.hi > 0;
        const double s = others.s, O = 1 + s, ay = double(rule.keep[y]);
        const double e = __builtin_exp(top ? -d.hi : d.hi) * (top ? 1 - d.lo : 1 + d.lo);      // relative to the larger of both
        const double sum = top ? 1 + O * e : O + e, wrong = (top ? O * e : O) / sum;
        const double log_sum = log1p_of<double>(all(top ? O * e : s + e))[0];
        const Around it = finish(i, ay == 0 ? 0.0 : ay * (top ? log_sum : log_sum - d.hi), others.level + (top ? d.hi : 0.0) + log_sum);
        if (!g) return true;
        const double step = rule.step(i) * it.factor * ay;
        const double at_y = (it.lift * (top ? 1.0 : e) / sum - step * wrong) * rule.label_slope(i);
        put_terms(g, 1 / others.c, (step + it.lift) * (top ? e : 1.0) / sum, {y, T(at_y)});
        return true;
    }

    T highest_but(std::int64_t y, const T *z) const {
        const T m = maximum(z, rule.C);
        if (z[y] != m) return m;
        const T before = maximum(z, y), after = maximum(z + y + 1, rule.C - y - 1);
        return before > after ? before : after;
    }

    // No other class is possible: the label has it all, unless it is impossible too, or a NaN was passed over.
    bool alone(std::int64_t i, std::int64_t y, const T *z, T *g) const {
        const double x = rule.rows.moved[3 * i];
        for (std::int64_t j = 0; j < rule.C; j++)
            if (j != y && z[j] != z[j]) return false;
        if (!(x > -INFINITE)) return false;
        const Around it = finish(i, 0.0, slope * x);
        if (!g) return true;
        for (std::int64_t j = 0; j < rule.C; j++) g[j] = 0;
        g[y] = T(it.lift * rule.label_slope(i));
        return true;
    }

    // d = slope (x_y - m) as a pair of numbers.
    Difference difference(std::int64_t i, double x, double m) const {
        const double far = x - m, bb = far - x, rest = (x - (far - bb)) - (m + bb), hi = slope * far;
        if (!(hi - hi == 0)) return {hi, 0.0};
        return {hi, __builtin_fma(slope, far, -hi) + slope * (rest + rule.rows.moved[3 * i + 1]) + rule.rows.formula.slope_rest * far};
    }

    template <class Row> Sums sums(Row row, const T *g) {
        return g ? sums_of<true, T>(row, terms, rule.C) : sums_of<false, T>(row, terms, rule.C);
    }

    // g_j = f(j, part), by vectors, but g of the classes that have an entry.
    struct Entry { std::int64_t j; T g; };
    template <class F, class... Entries> INLINE void put(T *g, F f, Entries... entries) const {
        if (past) return put_past(g, f, entries...);
        sweep_by<T, 4>(rule.C, [&](std::int64_t j, auto part, auto size) {
            for (int i = 0; i < size.value * LANES<T>; i += LANES<T>) part.store(g + j + i, f(j + i, part));
        });
        ((g[entries.j] = entries.g), ...);
    }

    // The same past the caches: what is stored so is written once, entries and all.
    template <class F, class... Entries> INLINE void put_past(T *g, F f, Entries... entries) const {
        constexpr int L = LANES<T>;
        const auto with = [&](std::int64_t j, auto part) {
            Vec<T> v = f(j, part);
            ((v = numbered<T>() == typename Lane<T>::Int(entries.j - j) ? all(entries.g) : v), ...);
            return v;
        };
        std::int64_t j = L - std::int64_t(reinterpret_cast<std::uintptr_t>(g) / sizeof(T)) % L;     // C is more than two vectors
        const Part<T> head{int(j)}, tail{int((rule.C - j) % L)};
        head.store(g, with(0, Whole<T>{}));
        for (; j + L <= rule.C; j += L) store_past(g + j, with(j, Whole<T>{}));
        if (tail.n) tail.store(g + j, with(j, tail));
    }

    static bool is_normal(double x) {
        const double size = x < 0 ? -x : x, least = double(Exponent<T>::normal);
        return size >= least && size < 1 / least;
    }

    // g_j = e_j by, by a and b one after the other where their product is no normal number.
    void put_terms(T *g, double a, double b, Entry own) {
        const bool once = is_normal(a * b);
        if (!once)
            for (std::int64_t j = 0; j < rule.C; j++) terms[j] *= T(a);
        const Vec<T> factor = all(T(once ? a * b : b));
        put(g, [&](std::int64_t j, auto part) { return part.load(terms + j, T(0)) * factor; }, own);
    }

    // Writes the loss of row i, and says what its gradient is to be multiplied with.
    Around finish(std::int64_t i, double l, double lse) const {
        const Around it = rule.around ? rule.around_it(i, l, lse) : Around{rule.row_weight(i) * l, 1.0, 0.0};
        rule.rows.losses[i] = it.loss;
        return it;
    }

    template <class Row> bool plain(std::int64_t i, std::int64_t y, Row row, T *g, double m) {
        const Label label = row.label(y);       // now: the sum may write over the scores
        const double ay = double(rule.keep[y]);
        const Sums e = sums(row, g);
        if (!(e.others >= 0)) return false;
        const double log_s = log1p_of<double>(all(e.s()))[0];
        const Around it = finish(i, ay == 0 ? 0.0 : ay * (log_s + label.below * slope), slope * m + log_s);
        if (!g) return true;
        const double inverse = 1 / e.all(), step = rule.step(i) * it.factor * ay * inverse, lift = it.lift * inverse, ey = double(terms[y]);
        const double left = label.top ? e.others : e.c + (e.others - ey);       // c (1 + s) (1 - p_y)
        put_terms(g, 1.0, step + lift, {y, T(lift * ey - step * left)});
        return true;
    }

    // l = log1p(w / e_y), w = sum_{j != y} e_j
    bool small(std::int64_t i, std::int64_t y, double own, T *g, Split e) {
        const double ay = double(rule.keep[y]);
        if (!(e.all() >= 0)) return false;
        const double l = log1p_of<double>(all(e.others / e.own))[0];
        const Around it = finish(i, ay * l, slope * own + l);
        if (!g) return true;
        const double inverse = 1 / e.all(), step = rule.step(i) * it.factor * ay;
        put_terms(g, inverse, step + it.lift, {y, T((it.lift * e.own - step * e.others) * inverse)});
        return true;
    }

    // Whether the label has at least half of A, so that in  l = A log1p(w / e_y) + slope sum_j base_j (x_y - x_j)  the sum, where it is negative,
    // takes at most half of what stands before it.
    bool mostly_label(std::int64_t y) const {
        const T ay = rule.base[y] + rule.keep[y];
        const Shares<T> aim = label_shares(y, ay);
        return aim.largest == ay && aim.others <= double(ay) && slope > 1e-30;   // or distances of small scores overflow
    }

    bool smoothed(std::int64_t i, std::int64_t y, double own, T *g, Split e) {
        if (!(e.all() >= 0)) return false;
        a[y] = rule.base[y] + rule.keep[y];
        const Shares<T> aim = label_shares(y, a[y]);
        const double l = log1p_of<double>(all(e.others / e.own))[0];
        const Around it = finish(i, aim.A * l + e.aside * slope, slope * own + l);
        if (g) {
            const double step = rule.step(i) * it.factor, inverse = 1 / e.all();
            Sums sums{e.others, e.own};
            if (!is_normal((step * aim.A + it.lift) * inverse)) {
                for (std::int64_t j = 0; j < rule.C; j++) terms[j] *= T(inverse);
                sums = {e.others * inverse, double(terms[y])};
            }
            smoothed_gradient(g, y, aim, sums, step, it.lift, 1.0);
        }
        a[y] = rule.base[y];
        return true;
    }

    template <class Row> bool spread(std::int64_t i, std::int64_t y, Row row, T *g, double m) {
        if (y >= 0) {
            a[y] = rule.base[y] + rule.keep[y];
        } else {
            const T *q = rule.rows.targets + i * rule.C;
            sweep<T>(rule.C, [&](std::int64_t j, auto part) {
                part.store(a + j, fma(part.load(rule.keep + j, T(0)), part.load(q + j, T(0)), part.load(rule.base + j, T(0))));
            });
        }
        const Shares<T> aim = y >= 0 ? label_shares(y, a[y]) : shares_of<T>(a, rule.C);
        const double cross = cross_of<T>(a, row, rule.C);       // now: the sum may write over the scores
        const Sums e = sums(row, g);
        const double log_s = log1p_of<double>(all(e.s()))[0];
        if (e.others >= 0) {
            const Around it = finish(i, (aim.A > 0 ? aim.A * log_s : 0.0) + cross * slope, slope * m + log_s);
            if (g && y < 0) spread_gradient(g, aim, e, rule.step(i) * it.factor, it.lift);
            if (g && y >= 0) smoothed_gradient(g, y, aim, e, rule.step(i) * it.factor, it.lift, rule.label_slope(i));
        }
        if (y >= 0) a[y] = rule.base[y];
        return e.others >= 0;
    }

    // For a label all a_j but two are base_j <= A / 2, where p_j A - a_j has the digits of p_j (A - a_j) - a_j (1 - p_j).
    void smoothed_gradient(T *g, std::int64_t y, const Shares<T> &aim, Sums e_j, double step, double lift, double label_slope) const {
        const double inverse = 1 / e_j.all();
        const auto exact = [&](std::int64_t j) {
            const double e = double(terms[j]), p = e * inverse, left = e == e_j.c ? e_j.others * inverse : 1 - p;
            const double off = a[j] == aim.largest ? aim.others : aim.A - double(a[j]);
            return T((p * off - double(a[j]) * left) * step + p * lift);
        };
        const std::int64_t heaviest = label_shares.heaviest();
        const Vec<T> factor = all(T((step * aim.A + lift) * inverse)), away = all(T(-step));
        put(g, [&](std::int64_t j, auto part) { return fma(part.load(rule.base + j, T(0)), away, part.load(terms + j, T(0)) * factor); },
            Entry{heaviest, exact(heaviest)}, Entry{y, T(double(exact(y)) * label_slope)});
    }

    void spread_gradient(T *g, const Shares<T> &aim, Sums e_j, double step, double lift) const {
        const Vec<T> inverse = all(T(1 / e_j.all())), largest = all(T(e_j.c)), top_left = all(T(e_j.others / e_j.all()));
        const Vec<T> A = all(T(aim.A)), rest = all(T(aim.others));
        put(g, [&](std::int64_t j, auto part) {
            const Vec<T> e = part.load(terms + j, T(0)), q = part.load(a + j, T(0)), p = e * inverse;
            const Vec<T> left = e == largest ? top_left : 1 - p;
            const Vec<T> off = q == aim.largest ? rest : A - q;
            return (p * off - q * left) * T(step) + p * T(lift);
        });
    }
};

}  // namespace SOFTGRAD_ISA
