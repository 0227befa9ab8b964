// Rows of entmax; losses/tsallis.py has the formula, whose letters are kept: b = alpha - 1 > 0, d = u - u_am, w = p^b, g = p^(1 - b).
//
// A class further than 1 / b below the largest score has p = 0, whatever the others are. One sweep finds the few that are nearer, and
// only these are computed with, in double, for the gradient of the others is 0, or -a_j where targets are spread.
#pragma once

#include "many.hpp"

namespace SOFTGRAD_ISA {

// p and g of w > 0, with k = (1 - w) / b; 1 - p_am from h; and P (1 - P^-b) / b from r = P - 1.
struct Raised { Doubles p, g; };

struct Straight {   // b = 1
    INLINE Raised operator()(Doubles w, Doubles) const { return {w, all(1.0)}; }
    double complement(double h) const { return h; }
    double rise(double r) const { return r; }
};

struct Square {     // b = 1/2
    INLINE Raised operator()(Doubles w, Doubles) const { return {w * w, w}; }
    double complement(double h) const { return h * (1 - h / 4); }
    double rise(double r) const {
        const double root = __builtin_sqrt(1 + r);
        return 2 * r * root / (1 + root);
    }
};

struct Power {
    double b;
    INLINE Raised operator()(Doubles w, Doubles k) const {
        const Doubles s = smaller(all(1e300), b * k / w);     // log w = -log1p(s): one formula for w near 1 and near 0
        const Pair<double> log[1] = {{-log1p_of<double>(s) / b, Doubles{}}};
        Doubles p[1];
        exponentials<double>(log, p);
        return {p[0], p[0] / w};
    }
    double complement(double h) const { return -__builtin_expm1(__builtin_log1p(-b * h) / b); }
    double rise(double r) const { return (1 + r) * -__builtin_expm1(-b * __builtin_log1p(r)) / b; }
};

template <class T>
class Entmax {
    static constexpr int L = LANES<T>, LD = LANES<double>;

   public:
    // Rules of other links make an object without room.
    explicit Entmax(const Rule<T> &rule)
        : rule(rule), C(rule.C), b(rule.rows.formula.b), slope(rule.rows.formula.slope), heat(slope, rule.rows.formula.slope_rest),
          label_shares(rule.base, b > 0 && rule.spread ? C : 0), a(b > 0 && rule.spread ? C : 0), place(b > 0 ? C + L : 0),
          d(b > 0 ? C + LD : 0), c(b > 0 ? C + LD : 0), w(b > 0 ? C + LD : 0), p(b > 0 ? C + LD : 0) {
        if (b > 0 && rule.spread)
            for (std::int64_t j = 0; j < C; j++) a[j] = rule.base[j];
    }

    // Row i: its loss, and its gradient in g if there is one; g may be z. False if the row has no largest score.
    bool operator()(std::int64_t i, const T *z, T *g) {
        const T m = maximum(z, C);
        if (!(m > -INFINITE && m < INFINITE)) return false;
        choose(z, m);
        const bool good = b == 1 ? solve(Straight{}) : b == 0.5 ? solve(Square{}) : solve(Power{b});
        if (!good) return false;
        if (rule.spread) spread(i, z, g, m);
        else plain(i, rule.rows.labels[i], z, g, m);
        return true;
    }

   private:
    static constexpr int STEPS = 100, TERMS = 18;
    static constexpr double SHORT = 0.125, LOWEST = sizeof(T) == 4 ? -__FLT_MAX__ : -__DBL_MAX__;

    const Rule<T> &rule;
    const std::int64_t C;
    const double b, slope;
    const Tempered<double> heat;
    const LabelShares<T> label_shares;
    Buffer<T> a;
    Buffer<std::int64_t> place;             // of the classes within reach; those of the largest score stand apart, under `top`
    Buffer<double> d, c, w, p;              // c = 1 + b d
    std::int64_t near, am;
    double h, q, below, below_pw;           // q = 1 - b h; sums of p and p w over the classes within reach
    struct { double p, w; } top;

    // A NaN counts as near, and is found out by what it makes of the sums.
    void choose(const T *z, T m) {
        const double edge = double(m) - (1 + 1e-6) / (b * slope);
        const T cut = T(edge > LOWEST ? edge : LOWEST);
        near = 0;
        sweep<T>(C, [&](std::int64_t j, auto part) {
            const Vec<T> x = part.load(z + j, T(-INFINITE));
            const Mask<T> far = x < cut;
            if (everywhere(far)) return;
            for (int k = 0; k < L; k++) {
                place[near] = j + k;
                near += 1 + far[k];
            }
        });
        std::int64_t k = 0;
        while (z[place[k]] != m) k++;
        am = place[k];
        place[k] = place[--near];
        for (k = 0; k < near; k++) d[k] = double(z[place[k]]);
        for (; k % LD; k++) d[k] = double(m);
        for (k = 0; k < near; k += LD) {
            const Pair<double> x = heat(below_top(load(d + k), m));
            const Doubles bd = b * x.hi;
            // all its digits where it nearly vanishes
            store(c + k, (1 + bd) + (product_error<double>(all(b), x.hi, bd) + b * x.lo));
            store(d + k, x.hi + x.lo);
        }
        for (k = near; k % LD; k++) c[k] = -1, d[k] = -2 / b;       // w < 0
    }

    static Pair<double> below_top(Doubles z, T m) { return SOFTGRAD_ISA::below<double>(z, all(double(m))); }

    // h, and w and p of all classes; false where there was a NaN.
    template <class P> bool solve(P power) {
        h = 0, q = 1;
        double step = newton(power);
        for (int n = 0; n < STEPS && step > 2e-16 * (h < q / b ? h : q / b); n++) {
            move(step);
            step = newton(power);
        }
        move(step);     // this one may go back: early steps, when q was near 1, were rounded as it was
        newton(power);
        Tally<double> pw;
        for (std::int64_t k = 0; k < near; k += LD) pw.add(load(p + k) * load(w + k));
        below_pw = pw.sum();
        return below == below;
    }

    void move(double step) { h += step, q -= b * step; }

    template <class P> double newton(P power) {
        const bool half = q < 0.5;      // whichever subtracts less
        Tally<double> sum;
        Doubles slopes{};
        for (std::int64_t k = 0; k < near; k += LD) {
            const Doubles dk = load(d + k), wk = half ? q + b * dk : load(c + k) - b * h;
            const Mask<double> off = wk <= 0.0;
            const Raised x = power(wk, h - dk);
            const Doubles pk = without(off, x.p);
            store(w + k, wk);
            store(p + k, pk);
            sum.add(pk);
            slopes += without(off, x.g);
        }
        top.w = half ? q : 1 - b * h;
        const Raised x = power(all(top.w), all(h));
        top.p = x.p[0], below = sum.sum();
        return power.rise(below - power.complement(h)) / (x.g[0] + total<double>(slopes));
    }

    // s = 1 - p_j and l_j of a class j
    struct Cost { double s, loss; };

    Cost of_top() const { return {below, cost(below, h, below_pw)}; }
    Cost of_near(std::int64_t k) const {
        const double s = top.p + (below - p[k]);
        return {s, cost(s, h - d[k], top.p * top.w + (below_pw - p[k] * w[k]))};
    }
    Cost of_far(T x, T m) const {
        const Pair<double> far = heat(below_top(all(double(x)), m));
        const double dj = far.lo[0] == far.lo[0] ? far.hi[0] + far.lo[0] : far.hi[0];       // -inf has no rest
        return {1.0, cost(1.0, h - dj, top.p * top.w + below_pw)};
    }

    // ((k - s) + b s k + sum of the others' p w) / alpha; k - s by its series where it is small beside them
    double cost(double s, double k, double others_pw) const {
        if (s >= SHORT) return (k * (1 + b * s) - s + others_pw) / (1 + b);
        double series = 1;
        for (int n = TERMS + 1; n > 2; n--) series = 1 + series * (s * ((n - 1 - b) / n));
        return (series * s * s * ((1 - b) / 2) + b * s * k + others_pw) / (1 + b);
    }

    void plain(std::int64_t i, std::int64_t y, const T *z, T *g, T m) {
        std::int64_t k = 0;
        while (k < near && place[k] != y) k++;
        const Cost it = y == am ? of_top() : k < near ? of_near(k) : of_far(z[y], m);
        const double *keep = rule.rows.formula.keep, ay = keep ? keep[y] : 1.0, step = rule.step(i) * ay;
        rule.rows.losses[i] = ay == 0 ? 0.0 : rule.row_weight(i) * ay * it.loss;
        if (!g) return;
        sweep<T>(C, [&](std::int64_t j, auto part) { part.store(g + j, Vec<T>{}); });
        for (k = 0; k < near; k++) g[place[k]] = T(step * p[k]);
        g[am] = T(step * top.p);
        g[y] = T(-step * it.s);
    }

    // l = sum_j a_j l_j and g_j = step (p_j (A - a_j) - a_j s_j); far classes have p = 0, and l_j is linear in their distance.
    void spread(std::int64_t i, const T *z, T *g, T m) {
        const std::int64_t y = rule.rows.labels ? rule.rows.labels[i] : -1;
        const Shares<T> aim = aims(i, y);
        const auto slope_of = [&](T aj, double pj, double s) {
            return pj * (aj == aim.largest ? aim.others : aim.A - double(aj)) - double(aj) * s;
        };
        const auto charge = [&](T aj, Cost it) { return aj > 0 ? double(aj) * it.loss : 0.0; };
        long double loss = charge(a[am], of_top());      // many equal terms in plain doubles were 800 eps off
        const double top_slope = slope_of(a[am], top.p, below);
        a[am] = 0;
        for (std::int64_t k = 0; k < near; k++) {
            T &aj = a[place[k]];
            const Cost it = of_near(k);
            loss += charge(aj, it);
            p[k] = slope_of(aj, p[k], it.s);
            aj = 0;
        }
        const Shares<T> far = shares_of<T>(a, C);
        const double cross = slope * cross_of<T>(a, Given<T, Unit>{z, z, all(m), Unit(1, 0)}, C);
        loss += cross + far.A * cost(1.0, h, top.p * top.w + below_pw);
        rule.rows.losses[i] = rule.row_weight(i) * double(loss);
        if (g) write(i, g, top_slope);
        if (y < 0) return;
        a[y] = rule.base[y], a[am] = rule.base[am];
        for (std::int64_t k = 0; k < near; k++) a[place[k]] = rule.base[place[k]];
    }

    // The shares a_j of row i, and what is known of them.
    Shares<T> aims(std::int64_t i, std::int64_t y) {
        if (y >= 0) {
            a[y] = rule.base[y] + rule.keep[y];
            return label_shares(y, a[y]);
        }
        const T *q = rule.rows.targets + i * C;
        sweep<T>(C, [&](std::int64_t j, auto part) {
            part.store(a + j, fma(part.load(rule.keep + j, T(0)), part.load(q + j, T(0)), part.load(rule.base + j, T(0))));
        });
        return shares_of<T>(a, C);
    }

    // Far classes have -step a_j.
    void write(std::int64_t i, T *g, double top_slope) const {
        const double step = rule.step(i);
        sweep<T>(C, [&](std::int64_t j, auto part) { part.store(g + j, part.load(a + j, T(0)) * T(-step)); });
        for (std::int64_t k = 0; k < near; k++) g[place[k]] = T(step * p[k]);
        g[am] = T(step * top_slope);
    }
};

}  // namespace SOFTGRAD_ISA
