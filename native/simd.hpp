// Vectors of WIDTH bytes, by the compiler's own vector type: + - * / and comparisons come with it, on any machine. This
// room adds the little that does not. Lanes never meet except in total() and highest(), in an order fixed once and for all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

// A vector handed to a function that is not inlined travels through memory.
#define INLINE [[gnu::always_inline]] inline

namespace SOFTGRAD_ISA {

constexpr int WIDTH = SOFTGRAD_WIDTH;

typedef float Floats __attribute__((vector_size(WIDTH)));
typedef double Doubles __attribute__((vector_size(WIDTH)));
typedef std::int32_t Ints __attribute__((vector_size(WIDTH)));
typedef std::int64_t Longs __attribute__((vector_size(WIDTH)));
typedef std::uint64_t Words __attribute__((vector_size(WIDTH)));

template <class T> struct Lane;
template <> struct Lane<float> { using V = Floats; using I = Ints; using Int = std::int32_t; };
template <> struct Lane<double> { using V = Doubles; using I = Longs; using Int = std::int64_t; };
template <class T> using Vec = typename Lane<T>::V;      // lanes of T
template <class T> using Mask = typename Lane<T>::I;     // what comparing them gives: 0 or -1, as wide as T
template <class T> constexpr int LANES = WIDTH / int(sizeof(T));

INLINE Floats all(float x) { return x - Floats{}; }
INLINE Doubles all(double x) { return x - Doubles{}; }

template <class T> struct Apart { typedef Vec<T> V __attribute__((aligned(sizeof(T)), may_alias)); };
template <class T> INLINE Vec<T> load(const T *p) { return *(const typename Apart<T>::V *)p; }
INLINE void store(float *p, Floats v) { *(Apart<float>::V *)p = v; }
INLINE void store(double *p, Doubles v) { *(Apart<double>::V *)p = v; }

INLINE Ints bits(Floats v) { return (Ints)v; }
INLINE Longs bits(Doubles v) { return (Longs)v; }
INLINE Floats of_bits(Ints v) { return (Floats)v; }
INLINE Doubles of_bits(Longs v) { return (Doubles)v; }

// The exponent of a positive number. Before AVX-512 no instruction makes doubles of longs.
INLINE Floats exponent_of(Floats v) { return __builtin_convertvector((bits(v) >> 23) - 127, Floats); }
INLINE Doubles exponent_of(Doubles v) {
    return of_bits(Longs((Words)bits(v) >> 52) | bits(all(0x1p52))) - (0x1p52 + 1023);
}

// a > b ? a : b and a < b ? a : b. Where one operand is NaN both return b; callers choose the order so that a NaN in the
// scores survives, or is dropped. The instruction is spelled out where there is one: GCC finds it only now and then.
#if defined(__AVX512F__) && SOFTGRAD_WIDTH == 64
INLINE Floats larger(Floats a, Floats b) { return _mm512_maskz_max_ps(0xffff, a, b); }
INLINE Floats smaller(Floats a, Floats b) { return _mm512_maskz_min_ps(0xffff, a, b); }
INLINE Doubles larger(Doubles a, Doubles b) { return _mm512_maskz_max_pd(0xff, a, b); }
INLINE Doubles smaller(Doubles a, Doubles b) { return _mm512_maskz_min_pd(0xff, a, b); }
#elif defined(__AVX__) && SOFTGRAD_WIDTH == 32
INLINE Floats larger(Floats a, Floats b) { return _mm256_max_ps(a, b); }
INLINE Floats smaller(Floats a, Floats b) { return _mm256_min_ps(a, b); }
INLINE Doubles larger(Doubles a, Doubles b) { return _mm256_max_pd(a, b); }
INLINE Doubles smaller(Doubles a, Doubles b) { return _mm256_min_pd(a, b); }
#elif defined(__SSE2__) && SOFTGRAD_WIDTH == 16
INLINE Floats larger(Floats a, Floats b) { return _mm_max_ps(a, b); }
INLINE Floats smaller(Floats a, Floats b) { return _mm_min_ps(a, b); }
INLINE Doubles larger(Doubles a, Doubles b) { return _mm_max_pd(a, b); }
INLINE Doubles smaller(Doubles a, Doubles b) { return _mm_min_pd(a, b); }
#else
INLINE Floats larger(Floats a, Floats b) { return a > b ? a : b; }
INLINE Floats smaller(Floats a, Floats b) { return a < b ? a : b; }
INLINE Doubles larger(Doubles a, Doubles b) { return a > b ? a : b; }
INLINE Doubles smaller(Doubles a, Doubles b) { return a < b ? a : b; }
#endif

// v where the mask is 0, else 0
INLINE Floats without(Ints mask, Floats v) { return of_bits(bits(v) & ~mask); }
INLINE Doubles without(Longs mask, Doubles v) { return of_bits(bits(v) & ~mask); }

INLINE Floats magnitude(Floats v) { return of_bits(bits(v) & 0x7fffffff); }
INLINE Doubles magnitude(Doubles v) { return of_bits(bits(v) & 0x7fffffffffffffff); }

// a b + c: one rounding where the machine has the instruction, two where it has not (EXACT_FMA says which).
#if defined(__AVX512F__) && SOFTGRAD_WIDTH == 64
constexpr bool EXACT_FMA = true;
INLINE Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
INLINE Doubles fma(Doubles a, Doubles b, Doubles c) { return _mm512_fmadd_pd(a, b, c); }
#elif defined(__FMA__) && SOFTGRAD_WIDTH == 32
constexpr bool EXACT_FMA = true;
INLINE Floats fma(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
INLINE Doubles fma(Doubles a, Doubles b, Doubles c) { return _mm256_fmadd_pd(a, b, c); }
#elif defined(__FMA__) || defined(__ARM_FEATURE_FMA)
constexpr bool EXACT_FMA = true;
INLINE Floats fma(Floats a, Floats b, Floats c) {
    for (int i = 0; i < LANES<float>; i++) a[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return a;
}
INLINE Doubles fma(Doubles a, Doubles b, Doubles c) {
    for (int i = 0; i < LANES<double>; i++) a[i] = __builtin_fma(a[i], b[i], c[i]);
    return a;
}
#else
constexpr bool EXACT_FMA = false;
INLINE Floats fma(Floats a, Floats b, Floats c) { return a * b + c; }
INLINE Doubles fma(Doubles a, Doubles b, Doubles c) { return a * b + c; }
#endif

// c += a b, in the register that c is in: told by fma() alone, GCC puts the sum where b was, moves it back, and runs out of registers.
#if defined(__FMA__) && defined(__x86_64__)
INLINE Floats onto(Floats c, Floats a, Floats b) {
    asm("vfmadd231ps %2, %1, %0" : "+v"(c) : "v"(a), "v"(b));
    return c;
}
INLINE Doubles onto(Doubles c, Doubles a, Doubles b) {
    asm("vfmadd231pd %2, %1, %0" : "+v"(c) : "v"(a), "v"(b));
    return c;
}
#else
template <class V> INLINE V onto(V c, V a, V b) { return fma(a, b, c); }
#endif

// v, kept in a register: left alone, GCC loads a vector again for each product it takes part in, and loads are what a loop of
// products runs out of first.
template <class V> INLINE V held(V v) {
#if defined(__AVX512F__)
    asm("" : "+v"(v));
#elif defined(__SSE2__)
    if constexpr (sizeof(V) <= 32) asm("" : "+x"(v));
#elif defined(__aarch64__)
    asm("" : "+w"(v));
#endif
    return v;
}

// The first n lanes, n < LANES; the others are `rest`. Memory past p + n is not touched.
template <class T> INLINE Vec<T> load_part(const T *p, int n, T rest) {
    Vec<T> v = all(rest);
    for (int i = 0; i < n; i++) v[i] = p[i];
    return v;
}
#if defined(__AVX512F__) && SOFTGRAD_WIDTH == 64
template <> INLINE Floats load_part(const float *p, int n, float rest) {
    return _mm512_mask_loadu_ps(all(rest), __mmask16((1u << n) - 1), p);
}
template <> INLINE Doubles load_part(const double *p, int n, double rest) {
    return _mm512_mask_loadu_pd(all(rest), __mmask8((1u << n) - 1), p);
}
#elif defined(__AVX2__) && SOFTGRAD_WIDTH == 32
template <> INLINE Floats load_part(const float *p, int n, float rest) {
    Ints first = n > Ints{0, 1, 2, 3, 4, 5, 6, 7};
    Floats v = _mm256_maskload_ps(p, (__m256i)first);
    return first ? v : all(rest);
}
template <> INLINE Doubles load_part(const double *p, int n, double rest) {
    Longs first = n > Longs{0, 1, 2, 3};
    Doubles v = _mm256_maskload_pd(p, (__m256i)first);
    return first ? v : all(rest);
}
#endif

template <class T> INLINE void store_part(T *p, Vec<T> v, int n) {
    for (int i = 0; i < n; i++) p[i] = v[i];
}
#if defined(__AVX512F__) && SOFTGRAD_WIDTH == 64
template <> INLINE void store_part(float *p, Floats v, int n) { _mm512_mask_storeu_ps(p, __mmask16((1u << n) - 1), v); }
template <> INLINE void store_part(double *p, Doubles v, int n) { _mm512_mask_storeu_pd(p, __mmask8((1u << n) - 1), v); }
#elif defined(__AVX2__) && SOFTGRAD_WIDTH == 32
// By halves: masked stores of this width take tens of steps on some machines.
template <> INLINE void store_part(float *p, Floats v, int n) {
    __m128 x = _mm256_castps256_ps128(v);
    if (n & 4) _mm_storeu_ps(p, x), p += 4, x = _mm256_extractf128_ps(v, 1);
    if (n & 2) _mm_storel_pi((__m64 *)p, x), p += 2, x = _mm_movehl_ps(x, x);
    if (n & 1) _mm_store_ss(p, x);
}
template <> INLINE void store_part(double *p, Doubles v, int n) {
    __m128d x = _mm256_castpd256_pd128(v);
    if (n & 2) _mm_storeu_pd(p, x), p += 2, x = _mm256_extractf128_pd(v, 1);
    if (n & 1) _mm_store_sd(p, x);
}
#endif

// At a border of vectors, past the caches, for what is large and not read soon: no line has to be fetched before it is written over. Worth it
// where a vector is a line; by half lines it was a quarter slower than through the caches (Zen 3).
#if defined(__AVX512F__) && SOFTGRAD_WIDTH == 64
INLINE void store_past(float *p, Floats v) { _mm512_stream_ps(p, v); }
INLINE void store_past(double *p, Doubles v) { _mm512_stream_pd(p, v); }
INLINE void past_is_stored() { _mm_sfence(); }
#else
template <class T, class V> INLINE void store_past(T *p, V v) { store(p, v); }
INLINE void past_is_stored() {}
#endif

// A vector of pieces of 16 bytes that lie apart, from(0), from(1), ..., and back.
#if defined(__AVX512F__) && SOFTGRAD_WIDTH == 64
template <class T, class From> INLINE Vec<T> load_pieces(From from) {
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)from(0)));
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)from(1)), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)from(2)), 2);
    return (Vec<T>)_mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)from(3)), 3);
}
template <class T, class To> INLINE void store_pieces(Vec<T> v, To to) {
    _mm_storeu_si128((__m128i *)to(0), _mm512_maskz_extracti32x4_epi32(0xf, (__m512i)v, 0));     // not the cast: GCC warns of it
    _mm_storeu_si128((__m128i *)to(1), _mm512_maskz_extracti32x4_epi32(0xf, (__m512i)v, 1));
    _mm_storeu_si128((__m128i *)to(2), _mm512_maskz_extracti32x4_epi32(0xf, (__m512i)v, 2));
    _mm_storeu_si128((__m128i *)to(3), _mm512_maskz_extracti32x4_epi32(0xf, (__m512i)v, 3));
}
#elif defined(__AVX2__) && SOFTGRAD_WIDTH == 32
template <class T, class From> INLINE Vec<T> load_pieces(From from) {
    const __m256 v = _mm256_castps128_ps256(_mm_loadu_ps((const float *)from(0)));
    return (Vec<T>)_mm256_insertf128_ps(v, _mm_loadu_ps((const float *)from(1)), 1);
}
template <class T, class To> INLINE void store_pieces(Vec<T> v, To to) {
    _mm_storeu_ps((float *)to(0), _mm256_castps256_ps128((__m256)v));
    _mm_storeu_ps((float *)to(1), _mm256_extractf128_ps((__m256)v, 1));
}
#else
template <class T, class From> INLINE Vec<T> load_pieces(From from) {
    Vec<T> v;
    for (int i = 0; i < WIDTH / 16; i++) __builtin_memcpy((char *)&v + 16 * i, from(i), 16);
    return v;
}
template <class T, class To> INLINE void store_pieces(Vec<T> v, To to) {
    for (int i = 0; i < WIDTH / 16; i++) __builtin_memcpy(to(i), (const char *)&v + 16 * i, 16);
}
#endif

// The number `at` of N vectors; 0 stays in its place.
template <class T, int N> INLINE T taken_out(Vec<T> (&v)[N], std::int64_t at) {
    T lanes[N * LANES<T>];
    for (int i = 0; i < N; i++) store(lanes + i * LANES<T>, v[i]);
    const T number = lanes[at];
    lanes[at] = 0;
    for (int i = 0; i < N; i++) v[i] = load(lanes + i * LANES<T>);
    return number;
}

// f(0), f(1), ... side by side
template <class T, class F, std::size_t... I> INLINE Vec<T> gathered(F f, std::index_sequence<I...>) { return Vec<T>{f(int(I))...}; }
template <class T, class F> INLINE Vec<T> gathered(F f) { return gathered<T>(f, std::make_index_sequence<LANES<T>>{}); }

// 0, 1, ...
template <class T, std::size_t... I> INLINE Mask<T> numbered(std::index_sequence<I...>) { return Mask<T>{I...}; }
template <class T> INLINE Mask<T> numbered() { return numbered<T>(std::make_index_sequence<LANES<T>>{}); }

// Whether every lane of a mask is set
template <class M> INLINE bool everywhere(M mask) {
#if defined(__AVX512BW__) && SOFTGRAD_WIDTH == 64
    return _mm512_movepi8_mask((__m512i)mask) == ~std::uint64_t(0);
#elif defined(__AVX2__) && SOFTGRAD_WIDTH == 32
    return _mm256_movemask_epi8((__m256i)mask) == -1;
#else
    Longs words = (Longs)mask;
    std::int64_t both = words[0];
    for (int i = 1; i < LANES<double>; i++) both &= words[i];
    return both == -1;
#endif
}

// f(0), f(1), ... in a row, with constants from the beginning: of a loop GCC makes them too late, and stores what is indexed by them.
template <class F, std::size_t... I> INLINE void times(F f, std::index_sequence<I...>) { (f(int(I)), ...); }
template <int N, class F> INLINE void times(F f) { times(f, std::make_index_sequence<N>{}); }

// f(j, part) for the vectors of an array of C numbers: whole ones, then what is left over. One body serves both.
template <class T> struct Whole {
    static Vec<T> load(const T *p, T) { return SOFTGRAD_ISA::load(p); }
    static void store(T *p, Vec<T> v) { SOFTGRAD_ISA::store(p, v); }
    static Vec<T> kept(Vec<T> v) { return v; }
};
template <class T> struct Part {
    int n;
    Vec<T> load(const T *p, T rest) const { return load_part(p, n, rest); }
    void store(T *p, Vec<T> v) const { store_part(p, v, n); }
    Vec<T> kept(Vec<T> v) const {
        T lanes[LANES<T>] = {};
        store_part(lanes, v, n);
        return SOFTGRAD_ISA::load(lanes);
    }
};
template <class T, class F> INLINE void sweep(std::int64_t C, F f) {
    std::int64_t j = 0;
    for (; j + LANES<T> <= C; j += LANES<T>) f(j, Whole<T>{});
    if (j < C) f(j, Part<T>{int(C - j)});
}

// The same by N vectors at a time: f(j, part, Size<N>) and, near the end, f(j, part, Size<1>).
template <int N> struct Size { static constexpr int value = N; };
template <class T, int N, class F> INLINE void sweep_by(std::int64_t C, F f) {
    std::int64_t j = 0;
    for (; j + N * LANES<T> <= C; j += N * LANES<T>) f(j, Whole<T>{}, Size<N>{});
    sweep<T>(C - j, [&](std::int64_t k, auto part) { f(j + k, part, Size<1>{}); });
}

// Lane i becomes lane i ^ APART.
template <class T, int APART, std::size_t... I> INLINE Vec<T> crossed(Vec<T> v, std::index_sequence<I...>) {
#if defined(__clang__)
    return __builtin_shufflevector(v, v, int(I ^ APART)...);
#else
    return __builtin_shuffle(v, Mask<T>{int(I ^ APART)...});
#endif
}
template <class T, int APART> INLINE Vec<T> crossed(Vec<T> v) { return crossed<T, APART>(v, std::make_index_sequence<LANES<T>>{}); }

// The sum of all lanes: of those that are half a vector apart, then of a quarter, ...
template <class T, int APART = LANES<T> / 2> INLINE T total(Vec<T> v) {
    if constexpr (APART == 0) return v[0];
    else return total<T, APART / 2>(v + crossed<T, APART>(v));
}

// v[lanes[0]], v[lanes[1]], ...; selector() makes of the numbers of lanes what the machine asks for.
#if defined(__AVX512F__) && SOFTGRAD_WIDTH == 64
INLINE Ints selector(Ints lanes) { return lanes; }
INLINE Longs selector(Longs lanes) { return lanes; }
INLINE Floats picked(Floats v, Ints selector) { return _mm512_maskz_permutexvar_ps(0xffff, (__m512i)selector, v); }
INLINE Doubles picked(Doubles v, Longs selector) { return _mm512_maskz_permutexvar_pd(0xff, (__m512i)selector, v); }
#elif defined(__AVX2__) && SOFTGRAD_WIDTH == 32
INLINE Ints selector(Ints lanes) { return lanes; }
INLINE Longs selector(Longs lanes) { return 2 * lanes | (2 * lanes + 1) << 32; }     // a double is two floats
INLINE Floats picked(Floats v, Ints selector) { return _mm256_permutevar8x32_ps(v, (__m256i)selector); }
INLINE Doubles picked(Doubles v, Longs selector) { return (Doubles)_mm256_permutevar8x32_ps((__m256)v, (__m256i)selector); }
#else
template <class M> INLINE M selector(M lanes) { return lanes; }
template <class V, class M> INLINE V picked(V v, M selector) {
    V out;
    for (std::size_t i = 0; i < sizeof(V) / sizeof v[0]; i++) out[i] = v[selector[i]];
    return out;
}
#endif

// The largest lane, in all lanes.
template <class T, int APART = LANES<T> / 2> INLINE Vec<T> highest(Vec<T> v) {
    if constexpr (APART == 0) return v;
    else return highest<T, APART / 2>(larger(crossed<T, APART>(v), v));
}

// The same, and the others' sum in the lanes of `others`: of two lanes that meet the smaller is one of them, in each of both.
template <class T, int APART = LANES<T> / 2> INLINE Vec<T> highest_apart(Vec<T> v, Vec<T> &others, T share = T(0.5)) {
    if constexpr (APART == 0) return v;
    else {
        const Vec<T> met = crossed<T, APART>(v);
        others += smaller(met, v) * share;
        return highest_apart<T, APART / 2>(larger(met, v), others, share / 2);
    }
}

// Half a vector of floats, as doubles. Told to convert vectors, GCC takes them by two lanes.
INLINE Doubles wide(const double *p) { return load(p); }
#if defined(__AVX512F__) && SOFTGRAD_WIDTH == 64
INLINE Doubles wide(const float *p) { return _mm512_maskz_cvtps_pd(0xff, _mm256_loadu_ps(p)); }
#elif defined(__AVX2__) && SOFTGRAD_WIDTH == 32
INLINE Doubles wide(const float *p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
#else
INLINE Doubles wide(const float *p) {
    Doubles v;
    for (int i = 0; i < LANES<double>; i++) v[i] = double(p[i]);
    return v;
}
#endif

struct TwoDoubles { Doubles low, high; };
INLINE TwoDoubles widened(Floats v) {
    float lanes[LANES<float>];
    store(lanes, v);
    return {wide(lanes), wide(lanes + LANES<double>)};
}

}  // namespace SOFTGRAD_ISA
