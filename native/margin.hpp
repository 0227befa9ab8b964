// What margins make of the label's score, in double, one number a row. Formulas and names are those of the parts in Python.
#pragma once

#include "rule.hpp"

namespace SOFTGRAD_ISA {

using softgrad::Margin;
using softgrad::Slid;

constexpr double PI = 3.14159265358979323846;

struct Phi { double value, slope; };    // the slope is by the angle where it is an angle that is asked for, else by the score

class Angular {
   public:
    explicit Angular(const double *numbers)
        : m1(numbers[0]), m2(numbers[1]), m3(numbers[2]), d(PI - (PI - m2) / m1), edge(d > 0 ? -__builtin_cos(d) : -1.0),
          past(d * __builtin_sin(d)), cos(__builtin_cos(m2)), sin(__builtin_sin(m2)) {}

    Phi operator()(double c, double s) const {
        if (c < edge) return {c - past - m3, -s};       // the angle is beyond pi - d
        if (m1 == 1) return bent(c, s, cos, sin);
        const double a = (m1 - 1) * __builtin_atan2(s, c) + m2;
        return bent(c, s, __builtin_cos(a), __builtin_sin(a));
    }

   private:
    double m1, m2, m3, d, edge, past, cos, sin;

    Phi bent(double c, double s, double cos_a, double sin_a) const {
        return {c * cos_a - s * sin_a - m3, -m1 * (s * cos_a + c * sin_a)};
    }
};

class Sphere {
   public:
    explicit Sphere(const double *numbers) : m(numbers[0]), lam(numbers[1]) {}

    Phi operator()(double c, double s) const {
        if (m == 1) return {c, -s};
        const double angle = m * __builtin_atan2(s, c), k = __builtin_floor(angle / PI), sign = __builtin_fmod(k, 2) == 0 ? 1 : -1;
        return {(lam * c + sign * __builtin_cos(angle) - 2 * k) / (1 + lam),
                -(lam * s + sign * m * __builtin_sin(angle)) / (1 + lam)};
    }

   private:
    double m, lam;
};

template <class Angle> Phi of_cosine(const Angle &angle, double c) {
    const bool inside = c > -1 && c < 1;
    const double x = inside ? c : __builtin_copysign(1.0, c), s = inside ? __builtin_sqrt((1 - x) * (1 + x)) : 0.0;
    const Phi at = angle(x, s);
    return inside ? Phi{at.value, -at.slope / s} : Phi{at.value + (c - x), 1.0};
}

// x = phi(B z) / B for the labels' scores z of some rows; B, the slope of the maps before the margin, is a sum of two numbers.
template <class T>
class Mover {
   public:
    explicit Mover(const Rule<T> &rule) : rule(rule), margin(rule.rows.formula.margin) {}

    template <class Where> void operator()(int count, Where where, const T *z) const {
        const double *m = margin.numbers;
        const auto on = [](auto angle) { return [angle](double c, std::int64_t) { return of_cosine(angle, c); }; };
        switch (margin.shape) {
            case Slid::angular: return each(count, where, z, on(Angular(m)));
            case Slid::sphere: return each(count, where, z, on(Sphere(m)));
            case Slid::label: return each(count, where, z, [m](double c, std::int64_t y) { return Phi{c - m[y], 1.0}; });
            case Slid::none: break;
        }
    }

   private:
    const Rule<T> &rule;
    const Margin &margin;

    template <class Where, class F> void each(int count, Where where, const T *z, F phi) const {
        const double B = margin.slope, rest = margin.slope_rest;
        for (int k = 0; k < count; k++) {
            const std::int64_t i = where.row(k), y = rule.rows.labels[i];
            const double zy = double(z[where.at(k) + y]), c = B * zy;
            const Phi u = phi(c, y);
            double lo = (__builtin_fma(B, zy, -c) + rest * zy) * u.slope;
            if (margin.shape == Slid::label) lo += minus_error(c, margin.numbers[y], u.value);
            const double x = u.value / B;
            double *moved = rule.rows.moved + 3 * i;
            moved[0] = x;
            moved[1] = (__builtin_fma(-x, B, u.value) + lo - x * rest) / B;
            moved[2] = u.slope;
        }
    }

    // (a - b) - d for d = fl(a - b)
    static double minus_error(double a, double b, double d) {
        const double bb = a - d;
        return (a - (d + bb)) + (bb - b);
    }
};

}  // namespace SOFTGRAD_ISA
