// f and f' of the curves at the row's cross-entropy l, with P = exp(-l) and Q = 1 - P to full relative accuracy. One number at a time:
// a row of classes costs many times as much. Formulas and names are those of the parts in Python.
#pragma once

#include "call.hpp"

namespace SOFTGRAD_ISA {

using softgrad::Curve;
using softgrad::Shape;

struct Bent { double f, f1; };

// l - Q = l^2 / 2 - l^3 / 6 + ..., summed where l is small
inline double without_first(double l) {
    if (l >= 0.5) return l + __builtin_expm1(-l);
    double series = 1;
    for (int k = 16; k > 2; k--) series = 1 - l / k * series;
    return l * l / 2 * series;
}

inline Bent power(double l, double q) {
    return {q > 0 ? -__builtin_expm1(-q * l) / q : l, __builtin_exp(-q * l)};
}

inline Bent focal(double l, double gamma) {
    const double m = l < 700 ? l : 700, grown = __builtin_expm1(m), Q = grown / (1 + grown);     // beyond, P is 0 for all purposes
    const double b = m > 0 ? m / grown : 1.0;                                                    // l P / Q
    const double weight = gamma == 2 ? Q * Q : gamma == 1 ? Q : __builtin_pow(Q, gamma);
    return {weight * l, weight * (1 + gamma * b)};
}

inline Bent poly1(double l, double epsilon) {
    const double P = __builtin_exp(-l), Q = -__builtin_expm1(-l);
    return {(1 + epsilon) * Q + without_first(l), P > 0.5 ? (1 + epsilon) - epsilon * Q : 1 + epsilon * P};
}

inline Bent truncated(double l, double k, double q) {
    const double end = -__builtin_log(k);
    return l < end ? power(l, q) : Bent{power(end, q).f, 0.0};
}

inline Bent taylor(double l, double order) {
    const double Q = -__builtin_expm1(-l);
    double f = 0, series = 0, Qk = 1;
    for (int k = 1; k <= order; k++) {
        series += Qk;
        Qk *= Q;
        f += Qk / k;
    }
    return {f, __builtin_exp(-l) * series};
}

inline Bent symmetric(double l, double alpha, double beta, double A) {
    const double c = -beta * A;
    return {alpha * l - c * __builtin_expm1(-l), alpha + c * __builtin_exp(-l)};
}

inline Bent bent(const Curve &curve, double l) {
    const double *x = curve.numbers;
    switch (curve.shape) {
        case Shape::focal: return focal(l, x[0]);
        case Shape::poly1: return poly1(l, x[0]);
        case Shape::generalized: return power(l, x[0]);
        case Shape::truncated: return truncated(l, x[0], x[1]);
        case Shape::taylor: return taylor(l, x[0]);
        case Shape::symmetric: return symmetric(l, x[0], x[1], x[2]);
        case Shape::identity: break;
    }
    return {l, 1.0};
}

}  // namespace SOFTGRAD_ISA
