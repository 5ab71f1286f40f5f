// The kernels of the torso, for vectors as wide as the processor's and for two precisions.
//
//   multiply   rows of patches times packed weights
//   reduce     sums of outer products over rows
//   dot        rows times rows
//
// A row is given as a pointer and the offsets of its contiguous segments: no patch is ever built.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
constexpr int kMaxColumns = 4;  // vectors of output columns in a tile
constexpr int tile_rows(int columns) { return columns == 4 ? 6 : columns == 2 ? 10 : 12; }
constexpr int kReduceRows = 8;
#elif defined(__AVX__)
constexpr int kLanes = 8;
constexpr int kMaxColumns = 2;
constexpr int tile_rows(int columns) { return columns == 2 ? 5 : 8; }
constexpr int kReduceRows = 4;
#else
constexpr int kLanes = 4;
constexpr int kMaxColumns = 2;
constexpr int tile_rows(int columns) { return columns == 2 ? 5 : 8; }
constexpr int kReduceRows = 4;
#endif
constexpr int kDotRows = 4, kDotColumns = 4;
typedef float Vector __attribute__((vector_size(kLanes * 4)));

inline Vector load_floats(const float* p) {
  Vector v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void store_floats(float* p, Vector v) { std::memcpy(p, &v, sizeof v); }

// What differs between the two precisions. An operand holds kDepth consecutive values of the axis that
// is summed over, for each lane.
struct Single {
  using T = float;
  using Operand = Vector;
  static constexpr int kDepth = 1;
  static T from_float(float x) { return x; }
  static float to_float(T x) { return x; }
  static Operand load(const T* p) { return load_floats(p); }
  static Operand broadcast(const T* p) { return Vector{} + *p; }
  static Vector multiply_add(Operand a, Operand b, Vector c) { return a * b + c; }
  static void store(T* p, Vector v) { store_floats(p, v); }
};

#ifdef __AVX512BF16__
struct Bfloat16 {
  using T = uint16_t;
  using Operand = __m512bh;
  static constexpr int kDepth = 2;
  static T from_float(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    if (x != x) return 0x7fc0;
    return static_cast<T>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
  }
  static float to_float(T x) {
    const uint32_t bits = static_cast<uint32_t>(x) << 16;
    float y;
    std::memcpy(&y, &bits, sizeof y);
    return y;
  }
  static Operand load(const T* p) { return (Operand)_mm512_loadu_si512(p); }
  static Operand broadcast(const T* p) {
    int pair;
    std::memcpy(&pair, p, sizeof pair);
    return (Operand)_mm512_set1_epi32(pair);
  }
  static Vector multiply_add(Operand a, Operand b, Vector c) {
    return (Vector)_mm512_dpbf16_ps((__m512)c, a, b);
  }
  static void store(T* p, Vector v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), (__m256i)_mm512_cvtneps_pbh((__m512)v));
  }
};
#endif

// Values of two neighbouring rows a and b, interleaved: a0 b0 a1 b1 ...; with depth 1, row a alone.
template <class P>
inline void load_rows(const typename P::T* a, const typename P::T* b, typename P::Operand* out) {
  if constexpr (P::kDepth == 1) {
    out[0] = P::load(a);
    out[1] = P::load(a + kLanes);
  } else {
#ifdef __AVX512BF16__
    const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7,
                                         38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
    const __m512i x = _mm512_loadu_si512(a), y = _mm512_loadu_si512(b);
    out[0] = (typename P::Operand)_mm512_permutex2var_epi16(x, low, y);
    out[1] = (typename P::Operand)_mm512_permutex2var_epi16(x, high, y);
#endif
  }
}
constexpr int kReduceColumns = 2 * kLanes;

// ---- multiply: out[m, n] = sum_k patch(m)[k] * weights[k, n] ------------------------------------

template <class P, int kRows, int kColumns, class Emit>
void multiply_tile(const typename P::T* const* rows, const ptrdiff_t* segments, int num_segments,
                   int segment_size, const typename P::T* weights, int num_columns, const Emit& emit) {
  Vector sum[kRows][kColumns] = {};
  for (int s = 0; s < num_segments; ++s) {
    const typename P::T* row[kRows];
    for (int r = 0; r < kRows; ++r) row[r] = rows[r] + segments[s];
    for (int k = 0; k < segment_size; k += P::kDepth) {
      typename P::Operand w[kColumns];
      for (int c = 0; c < kColumns; ++c) w[c] = P::load(weights + c * kLanes * P::kDepth);
      for (int r = 0; r < kRows; ++r) {
        const typename P::Operand x = P::broadcast(row[r] + k);
        for (int c = 0; c < kColumns; ++c) sum[r][c] = P::multiply_add(x, w[c], sum[r][c]);
      }
      weights += static_cast<ptrdiff_t>(num_columns) * P::kDepth;
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int c = 0; c < kColumns; ++c) emit(r, c * kLanes, sum[r][c]);
}

template <class P, int kColumns, class Emit>
void multiply_columns(const typename P::T* input, const std::vector<ptrdiff_t>& offsets,
                      const std::vector<ptrdiff_t>& segments, int segment_size,
                      const typename P::T* weights, int num_columns, int column, const Emit& emit) {
  constexpr int kRows = tile_rows(kColumns);
  const int num_rows = static_cast<int>(offsets.size());
  for (int begin = 0; begin < num_rows; begin += kRows) {
    // The last tile is moved back: a few rows are computed twice, to the same result.
    const int first = std::max(0, std::min(begin, num_rows - kRows));
    const typename P::T* rows[kRows];
    for (int r = 0; r < kRows; ++r) rows[r] = input + offsets[std::min(first + r, num_rows - 1)];
    multiply_tile<P, kRows, kColumns>(
        rows, segments.data(), static_cast<int>(segments.size()), segment_size,
        weights + static_cast<ptrdiff_t>(column) * P::kDepth, num_columns, [&](int r, int c, Vector v) {
          if (first + r < num_rows) emit(first + r, column + c, v);
        });
  }
}

template <class P, class Emit>
void multiply(const typename P::T* input, const std::vector<ptrdiff_t>& offsets,
              const std::vector<ptrdiff_t>& segments, int segment_size, const typename P::T* weights,
              int num_columns, const Emit& emit) {
  int column = 0;
  while (num_columns - column >= kMaxColumns * kLanes) {
    multiply_columns<P, kMaxColumns>(input, offsets, segments, segment_size, weights, num_columns, column,
                                     emit);
    column += kMaxColumns * kLanes;
  }
  if constexpr (kMaxColumns > 2) {
    if (num_columns - column >= 2 * kLanes) {
      multiply_columns<P, 2>(input, offsets, segments, segment_size, weights, num_columns, column, emit);
      column += 2 * kLanes;
    }
  }
  if (num_columns - column >= kLanes)
    multiply_columns<P, 1>(input, offsets, segments, segment_size, weights, num_columns, column, emit);
}

// ---- reduce: out[n, k] = sum_m factors[m, n] * rows(m)[k] ---------------------------------------

// One sample's share: factors lie as [m / depth][num_factors][depth], rows at offsets[m].
template <class P>
inline void reduce_add(const typename P::T* rows, const std::vector<ptrdiff_t>& offsets,
                       const typename P::T* factors, int num_factors, Vector (*sum)[2]) {
  const int num_rows = static_cast<int>(offsets.size());
  for (int m = 0; m < num_rows; m += P::kDepth) {
    typename P::Operand x[2];
    load_rows<P>(rows + offsets[m], rows + offsets[std::min(m + P::kDepth - 1, num_rows - 1)], x);
    for (int r = 0; r < kReduceRows; ++r) {
      const typename P::Operand f = P::broadcast(factors + r * P::kDepth);
      sum[r][0] = P::multiply_add(f, x[0], sum[r][0]);
      sum[r][1] = P::multiply_add(f, x[1], sum[r][1]);
    }
    factors += static_cast<ptrdiff_t>(num_factors) * P::kDepth;
  }
}

// [num_rows][num_columns] at row offsets, to [rows / depth][columns][depth]; a missing last row is zero.
template <class P>
void pack_rows(const typename P::T* input, const std::vector<ptrdiff_t>& offsets, int num_columns,
               typename P::T* out) {
  const int num_rows = static_cast<int>(offsets.size());
  for (int m = 0; m < num_rows; m += P::kDepth) {
    const typename P::T* a = input + offsets[m];
    if constexpr (P::kDepth == 1) {
      std::memcpy(out, a, num_columns * sizeof(typename P::T));
    } else {
      if (m + 1 < num_rows) {
        const typename P::T* b = input + offsets[m + 1];
        for (int n = 0; n < num_columns; ++n) out[2 * n] = a[n], out[2 * n + 1] = b[n];
      } else {
        for (int n = 0; n < num_columns; ++n) out[2 * n] = a[n], out[2 * n + 1] = 0;
      }
    }
    out += static_cast<ptrdiff_t>(num_columns) * P::kDepth;
  }
}

// ---- dot: out[m, n] = sum_k a[m, k] * b[n, k] ----------------------------------------------------

inline float sum_of(Vector v) {
  float s = 0;
  for (int i = 0; i < kLanes; ++i) s += v[i];
  return s;
}

template <class P>
void dot_tile(const typename P::T* const* a, const typename P::T* const* b, int size,
              float (*out)[kDotColumns]) {
  Vector sum[kDotRows][kDotColumns] = {};
  for (int k = 0; k < size; k += kLanes * P::kDepth) {
    typename P::Operand y[kDotColumns];
    for (int c = 0; c < kDotColumns; ++c) y[c] = P::load(b[c] + k);
    for (int r = 0; r < kDotRows; ++r) {
      const typename P::Operand x = P::load(a[r] + k);
      for (int c = 0; c < kDotColumns; ++c) sum[r][c] = P::multiply_add(x, y[c], sum[r][c]);
    }
  }
  for (int r = 0; r < kDotRows; ++r)
    for (int c = 0; c < kDotColumns; ++c) out[r][c] = sum_of(sum[r][c]);
}

}  // namespace
