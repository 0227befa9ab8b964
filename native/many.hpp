// The row formula of rule.hpp for rows of many classes: the lanes run along the classes of one row, which stays in the
// first-level cache through three sweeps (maximum; exponentials and their sum; gradient).
#pragma once

#include "exponential.hpp"
#include "rule.hpp"

namespace SOFTGRAD_ISA {

template <class T> T maximum(const T *z, std::int64_t C) {
    constexpr int L = LANES<T>;
    Vec<T> m[4];
    for (auto &v : m) v = all(T(-INFINITE));
    std::int64_t j = 0;
    for (; j + 4 * L <= C; j += 4 * L)
        for (int i = 0; i < 4; i++) m[i] = larger(load(z + j + i * L), m[i]);
    sweep<T>(C - j, [&](std::int64_t k, auto part) { m[0] = larger(part.load(z + j + k, T(-INFINITE)), m[0]); });
    return highest<T>(larger(larger(m[0], m[1]), larger(m[2], m[3])));
}

constexpr int STEP = 2;     // vectors in step; 3 and 4 run out of the 16 registers and were slower

// s, the sum of e_j = exp((z_j - m) / T) without one maximum; KEEP: the e_j themselves too. Leaving out all lanes equal to
// m and adding (their number - 1) needs no search for the place of the maximum. NaN in z comes out as NaN.
template <bool KEEP, class T, class Heat> double others(const T *z, T *e, std::int64_t C, T m, Heat heat) {
    constexpr std::int64_t block = BLOCK * LANES<T>;
    Tally<T> tally;
    Mask<T> ties{};
    for (std::int64_t b = 0; b < C; b += block) {
        Vec<T> sum{};
        sweep_by<T, STEP>(C - b < block ? C - b : block, [&](std::int64_t j, auto part, auto size) {
            constexpr int N = size.value, L = LANES<T>;
            Vec<T> x[N], y[N];
            Pair<T> d[N];
            for (int byte = 0; byte < N * WIDTH; byte += 64)       // the next row, while this one is being worked on
                __builtin_prefetch((const char *)(z + C + b + j) + byte, 0, 2);
            for (int i = 0; i < N; i++) d[i] = heat(below<T>(x[i] = part.load(z + b + j + i * L, T(-INFINITE)), all(m)));
            exponentials<T>(d, y);
            for (int i = 0; i < N; i++) {
                const Mask<T> top = x[i] == m;
                sum += without(top, y[i]);
                ties += top;
                if constexpr (KEEP) part.store(e + b + j + i * L, y[i]);
            }
        });
        tally.add(sum);
    }
    std::int64_t count = 0;
    for (int i = 0; i < LANES<T>; i++) count -= ties[i];
    return tally.sum() + double(count - 1);
}

// Of the a_j of one row: their sum A, their largest, the sum of the others than that one, and sum_j a_j (m - z_j).
template <class T> struct Spread {
    double A, others, cross;
    T largest;

    Spread(const T *a, const T *z, std::int64_t C, T m) : largest(maximum(a, C)) {
        constexpr std::int64_t block = BLOCK * LANES<T>;
        Tally<T> rest, distance;
        Mask<T> ties{};
        for (std::int64_t b = 0; b < C; b += block) {
            Vec<T> sum{}, far{};
            sweep<T>(C - b < block ? C - b : block, [&](std::int64_t j, auto part) {
                Vec<T> x = part.load(z + b + j, m), q = part.load(a + b + j, T(-1));
                far += q > T(0) ? q * distance_of<T>(x, all(m)) : Vec<T>{};     // an impossible class without weight: 0 inf = 0
                sum += q == largest || q < T(0) ? Vec<T>{} : q;
                ties += q == largest;
            });
            rest.add(sum);
            distance.add(far);
        }
        std::int64_t count = 0;
        for (int i = 0; i < LANES<T>; i++) count -= ties[i];
        others = rest.sum() + double(count - 1) * double(largest);
        A = others + double(largest);
        cross = distance.sum() / SMALL;
    }
};

template <class T, class Heat>
class Many {
   public:
    explicit Many(const Rule<T> &rule) : rule(rule), heat(rule.rows.temperature), a(rule.spread ? rule.C : 0) {
        if (rule.spread)
            for (std::int64_t j = 0; j < rule.C; j++) a[j] = rule.base[j];
    }

    // Row i: its loss, and its gradient in g if there is one; false if the row has no softmax.
    bool operator()(std::int64_t i, const T *z, T *g) {
        const T m = maximum(z, rule.C);
        if (!(m > -INFINITE && m < INFINITE)) return false;
        double loss, r = rule.row_weight(i);
        if (!(rule.spread ? spread(i, z, g, m, loss) : plain(i, z, g, m, loss))) return false;
        rule.rows.losses[i] = r * loss;
        return true;
    }

   private:
    const Rule<T> &rule;
    const Heat heat;
    Buffer<T> a;

    double sum(const T *z, T *g, T m) const {
        return g ? others<true>(z, g, rule.C, m, heat) : others<false>(z, g, rule.C, m, heat);
    }

    bool plain(std::int64_t i, const T *z, T *g, T m, double &loss) const {
        const std::int64_t y = rule.rows.labels[i];
        const T zy = z[y];
        const double ay = double(rule.keep[y]), s = sum(z, g, m);
        if (!(s >= 0)) return false;
        loss = ay == 0 ? 0.0 : ay * (log1p_of<double>(all(s))[0] + (double(m) - double(zy)) / rule.rows.temperature);
        if (!g) return true;
        const double step = rule.step(i) * ay / (1 + s);
        const double left = zy == m ? s : 1 + (s - double(g[y]));       // (1 + s) (1 - p_y)
        const Vec<T> factor = all(T(step));
        sweep<T>(rule.C, [&](std::int64_t j, auto part) { part.store(g + j, part.load(g + j, T(0)) * factor); });
        g[y] = T(-step * left);
        return true;
    }

    bool spread(std::int64_t i, const T *z, T *g, T m, double &loss) {
        const std::int64_t y = rule.rows.labels ? rule.rows.labels[i] : -1;
        if (y >= 0) {
            a[y] = rule.base[y] + rule.keep[y];
        } else {
            const T *q = rule.rows.targets + i * rule.C;
            sweep<T>(rule.C, [&](std::int64_t j, auto part) {
                part.store(a + j, fma(part.load(rule.keep + j, T(0)), part.load(q + j, T(0)), part.load(rule.base + j, T(0))));
            });
        }
        const Spread<T> aim(a, z, rule.C, m);
        const double s = sum(z, g, m);
        loss = (aim.A > 0 ? aim.A * log1p_of<double>(all(s))[0] : 0.0) + aim.cross / rule.rows.temperature;
        if (g) spread_gradient(g, aim, s, rule.step(i));
        if (y >= 0) a[y] = rule.base[y];
        return s >= 0;
    }

    void spread_gradient(T *g, const Spread<T> &aim, double s, double step) const {
        const Vec<T> inverse = all(T(1 / (1 + s))), top_left = all(T(s / (1 + s))), A = all(T(aim.A)), rest = all(T(aim.others));
        sweep<T>(rule.C, [&](std::int64_t j, auto part) {
            Vec<T> e = part.load(g + j, T(0)), q = part.load(a + j, T(0)), p = e * inverse;
            Vec<T> left = e == T(1) ? top_left : 1 - p;
            Vec<T> off = q == aim.largest ? rest : A - q;
            part.store(g + j, (p * off - q * left) * T(step));
        });
    }
};

}  // namespace SOFTGRAD_ISA
