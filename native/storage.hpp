// How the numbers of X are stored, and how a vector of them becomes a vector of T. X itself is never copied as a whole.
#pragma once

#include "simd.hpp"

namespace SOFTGRAD_ISA {

struct Byte { std::uint8_t bits; };     // 0..255
struct Half { std::uint16_t bits; };    // IEEE binary16
struct Brain { std::uint16_t bits; };   // bfloat16: the upper half of a float

typedef std::uint8_t Octets __attribute__((vector_size(WIDTH / 4)));
typedef std::uint16_t Shorts __attribute__((vector_size(WIDTH / 2)));

template <class V, class S> INLINE V raw(const S *x) {
    V v;
    __builtin_memcpy(&v, x, sizeof v);
    return v;
}

INLINE Floats numbers(const float *x) { return load(x); }
INLINE Doubles numbers(const double *x) { return load(x); }
INLINE Floats numbers(const Brain *x) { return of_bits(__builtin_convertvector(raw<Shorts>(x), Ints) << 16); }

#if defined(__AVX512F__) && SOFTGRAD_WIDTH == 64
// (the masked forms with a full mask, since GCC warns of its own plain ones)
constexpr __mmask16 FULL = 0xffff;
INLINE Floats numbers(const Byte *x) {
    return _mm512_maskz_cvtepi32_ps(FULL, _mm512_maskz_cvtepu8_epi32(FULL, _mm_loadu_si128((const __m128i *)x)));
}
INLINE Floats numbers(const Half *x) { return _mm512_maskz_cvtph_ps(FULL, _mm256_loadu_si256((const __m256i *)x)); }
#elif defined(__F16C__) && defined(__AVX2__) && SOFTGRAD_WIDTH == 32
INLINE Floats numbers(const Byte *x) { return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)x))); }
INLINE Floats numbers(const Half *x) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)x)); }
#else
INLINE Floats numbers(const Byte *x) {
    return __builtin_convertvector(__builtin_convertvector(raw<Octets>(x), Ints), Floats);
}
// Moved 13 places up, the bits of a half are those of a float 2^112 times too small, subnormals included; what comes out
// at 2^16 or above was an infinity or a NaN.
INLINE Floats numbers(const Half *x) {
    const Ints h = __builtin_convertvector(raw<Shorts>(x), Ints), sign = (h & 0x8000) << 16, low = (h & 0x7fff) << 13;
    const Floats size = of_bits(low) * 0x1p112f;
    return of_bits(sign | (size >= 0x1p16f ? low | 0x7f800000 : bits(size)));
}
#endif

template <class T, class S> void widen(const S *x, std::int64_t count, T *to) {
    constexpr int L = LANES<T>;
    std::int64_t i = 0;
    for (; i + L <= count; i += L) store(to + i, numbers(x + i));
    if (i == count) return;
    S last[L] = {};
    T wide[L];
    __builtin_memcpy(last, x + i, (count - i) * sizeof(S));
    store(wide, numbers(last));
    __builtin_memcpy(to + i, wide, (count - i) * sizeof(T));
}

// halves, as the door knows them
inline void widen_halves(const void *x, std::int64_t count, float *to) { widen(static_cast<const Half *>(x), count, to); }

}  // namespace SOFTGRAD_ISA
