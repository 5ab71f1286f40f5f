// RMSprop and Adagrad in one pass over memory: every element of the parameter, the gradient and the
// state is read once, and written once. The mathematics is that of rmsprop/rule.py, operation by
// operation and in the same order, so that float32 and float64 results differ from the for-loop by
// rounding only; reduced precision is computed in float32 and rounded once.
//
// rmsprop/build.py compiles this file into a shared library with a C interface, with RMSPROP_SCALAR
// the type of the parameters: float, double, bfloat16 or _Float16. It needs no PyTorch headers.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "thread_pool.hpp"

namespace {

struct bfloat16 {
  uint16_t bits;
};

template <typename T>
struct Compute {
  using type = float;
};
template <>
struct Compute<double> {
  using type = double;
};

template <typename T>
inline typename Compute<T>::type load(T value) {
  return static_cast<typename Compute<T>::type>(value);
}
inline float load(bfloat16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

template <typename T>
inline void store(T& target, typename Compute<T>::type value) {
  target = static_cast<T>(value);
}
inline void store(bfloat16& target, float value) {  // To nearest, ties to even; NaN stays NaN.
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const uint32_t rounded = bits + 0x7fff + ((bits >> 16) & 1);
  target.bits = value != value ? 0x7fc0 : static_cast<uint16_t>(rounded >> 16);
}

// a * b + c rounded once, where the processor can. PyTorch's vectorised addcmul, lerp and add round
// once too. That shows in the variance v - m * m, which nearly cancels, and where m * m overflows.
template <typename A>
inline A multiply_add(A a, A b, A c) {
#ifdef __FP_FAST_FMAF
  return std::fma(a, b, c);
#else
  return a * b + c;
#endif
}

// Laid out as the ctypes structure of the same name in rmsprop/fused.py.
struct Constants {
  double grad_scale;         // multiplies the gradient: -1 to maximise, 1 / scale under AMP
  double coupled_decay;      // lambda, added as lambda * theta to the gradient
  double param_scale;        // 1 - lr * lambda with decoupled decay, else 1
  double square_avg_decay;   // alpha; 1 for Adagrad
  double square_avg_weight;  // 1 - alpha; 1 for Adagrad
  double grad_avg_weight;    // 1 - alpha
  double bias_correction;    // 1 - alpha^t, or 1
  double eps;
  double momentum;
  double lr;
  double buffer_lr;  // lr inside the momentum buffer, else 1
  double param_lr;   // lr outside it, else 1
};

template <typename T>
struct Rule {
  using A = typename Compute<T>::type;
  A grad_scale, coupled_decay, param_scale, square_avg_decay, square_avg_weight, grad_avg_weight,
      bias_correction, eps, momentum, minus_lr, buffer_lr, minus_param_lr;

  explicit Rule(const Constants& c)
      : grad_scale(c.grad_scale),
        coupled_decay(c.coupled_decay),
        param_scale(c.param_scale),
        square_avg_decay(c.square_avg_decay),
        square_avg_weight(c.square_avg_weight),
        grad_avg_weight(c.grad_avg_weight),
        bias_correction(c.bias_correction),
        eps(c.eps),
        momentum(c.momentum),
        minus_lr(-c.lr),
        buffer_lr(c.buffer_lr),
        minus_param_lr(-c.param_lr) {}
};

template <typename T>
struct Tensors {
  T* param;
  const T* grad;
  T* square_avg;
  T* grad_avg;
  T* momentum_buffer;
};

constexpr int64_t kStrip = 64;  // Elements between two rounds of prefetching.
// How many elements ahead. On a Xeon with AVX-512 beside busy neighbours, medians of 121 interleaved
// steps of the Nature network: 9 % faster than 1024 elements ahead and for writing, and than none.
constexpr int64_t kPrefetch = 256;

template <typename T>
inline void prefetch_strip(const T* pointer) {
  const char* line = reinterpret_cast<const char*>(pointer + kPrefetch);
  for (int64_t byte = 0; byte < kStrip * int64_t(sizeof(T)); byte += 64)
    __builtin_prefetch(line + byte);
}

template <bool centered, bool momentum, bool nesterov, bool eps_inside_sqrt, bool coupled,
          bool corrected, typename T>
inline void step_strip(const Tensors<T>& t, int64_t begin, int64_t end, const Rule<T>& rule) {
  using A = typename Compute<T>::type;
  T* __restrict param = t.param;
  const T* __restrict grad = t.grad;
  T* __restrict square_avg = t.square_avg;
  T* __restrict grad_avg = t.grad_avg;
  T* __restrict momentum_buffer = t.momentum_buffer;
  const Rule<T> r = rule;
  // torch.lerp starts from the nearer end.
  const bool from_avg = r.grad_avg_weight < A(0.5);
  const A lerp_weight = from_avg ? r.grad_avg_weight : r.grad_avg_weight - A(1);
  const A buffer_weight = nesterov ? r.minus_param_lr * r.momentum : r.minus_param_lr;

#pragma omp simd
  for (int64_t i = begin; i < end; ++i) {
    A g = load(grad[i]) * r.grad_scale;
    A theta = load(param[i]) * r.param_scale;
    if constexpr (coupled) g = multiply_add(r.coupled_decay, theta, g);

    const A v =
        multiply_add(r.square_avg_weight * g, g, load(square_avg[i]) * r.square_avg_decay);
    store(square_avg[i], v);
    A q = v;
    if constexpr (centered) {
      const A old = load(grad_avg[i]);
      const A m = multiply_add(lerp_weight, g - old, from_avg ? old : g);
      store(grad_avg[i], m);
      q = multiply_add(-m, m, v);
      q = q < A(0) ? A(0) : q;  // A NaN stays NaN.
    }
    if constexpr (corrected) q = q / r.bias_correction;
    const A d = eps_inside_sqrt ? std::sqrt(q + r.eps) : std::sqrt(q) + r.eps;

    if constexpr (momentum) {
      const A b = load(momentum_buffer[i]) * r.momentum + (r.buffer_lr * g) / d;
      store(momentum_buffer[i], b);
      if constexpr (nesterov) theta = theta + (r.minus_lr * g) / d;
      theta = multiply_add(buffer_weight, b, theta);
    } else {
      theta = theta + (r.minus_lr * g) / d;
    }
    store(param[i], theta);
  }
}

template <bool centered, bool momentum, bool nesterov, bool eps_inside_sqrt, bool coupled,
          bool corrected, typename T>
void step_range(const Tensors<T>& t, int64_t begin, int64_t end, const Rule<T>& rule) {
  for (int64_t strip = begin; strip < end; strip += kStrip) {
    prefetch_strip(t.grad + strip);
    prefetch_strip(t.param + strip);
    prefetch_strip(t.square_avg + strip);
    if constexpr (centered) prefetch_strip(t.grad_avg + strip);
    if constexpr (momentum) prefetch_strip(t.momentum_buffer + strip);
    step_strip<centered, momentum, nesterov, eps_inside_sqrt, coupled, corrected>(
        t, strip, std::min(strip + kStrip, end), rule);
  }
}

enum Flags : int64_t {
  kCentered = 1,
  kMomentum = 2,
  kNesterov = 4,
  kEpsInsideSqrt = 8,
  kCoupledDecay = 16,
  kBiasCorrection = 32,
};

template <typename T>
using StepRange = void (*)(const Tensors<T>&, int64_t, int64_t, const Rule<T>&);

// The loop specialised for the given flags: one flag becomes a template argument per call. What
// rmsprop.RMSprop refuses (Nesterov without momentum, bias correction when centred) is not compiled.
template <typename T, bool... chosen>
StepRange<T> select(int64_t flags) {
  constexpr bool so_far[] = {chosen..., false};
  constexpr int index = sizeof...(chosen);
  if constexpr (index == 6) {
    return step_range<chosen..., T>;
  } else {
    constexpr bool impossible = (index == 2 && !so_far[1]) || (index == 5 && so_far[0]);
    if constexpr (!impossible)
      if (flags & (int64_t(1) << index)) return select<T, chosen..., true>(flags);
    return select<T, chosen..., false>(flags);
  }
}

constexpr int64_t kBlock = 16384;  // Elements a thread takes at a time: 64 KiB per float32 array.
constexpr int kPointers = 5;

template <typename T>
void step(int64_t num_tensors, const int64_t* addresses, const int64_t* sizes, int64_t flags,
          const Constants& constants, int64_t num_threads, bool use_openmp) {
  const StepRange<T> step_range = select<T>(flags);
  const Rule<T> rule(constants);
  struct Block {
    int64_t tensor, begin;
  };
  std::vector<Block> blocks;
  for (int64_t tensor = 0; tensor < num_tensors; ++tensor)
    for (int64_t begin = 0; begin < sizes[tensor]; begin += kBlock)
      blocks.push_back({tensor, begin});
  const int64_t num_blocks = blocks.size();
  const int64_t threads = std::max<int64_t>(1, std::min(num_threads, num_blocks / 4));
  const auto step_block = [&](int64_t index) {
    const auto [tensor, begin] = blocks[index];
    const int64_t* a = addresses + tensor * kPointers;
    const Tensors<T> tensors{reinterpret_cast<T*>(a[0]), reinterpret_cast<const T*>(a[1]),
                             reinterpret_cast<T*>(a[2]), reinterpret_cast<T*>(a[3]),
                             reinterpret_cast<T*>(a[4])};
    step_range(tensors, begin, std::min(begin + kBlock, sizes[tensor]), rule);
  };
#ifdef _OPENMP
  if (use_openmp) {
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t index = 0; index < num_blocks; ++index) step_block(index);
    return;
  }
#else
  (void)use_openmp;
#endif
  ThreadPool::of(static_cast<int>(threads)).run(static_cast<int>(num_blocks), [&](int index, int) {
    step_block(index);
  });
}

}  // namespace

// One library per type of the parameters: compiling all of them would take four times as long.
extern "C" void rmsprop_step(int64_t num_tensors, const int64_t* addresses, const int64_t* sizes,
                             int64_t flags, const Constants* constants, int64_t num_threads,
                             int use_openmp) {
  step<RMSPROP_SCALAR>(num_tensors, addresses, sizes, flags, *constants, num_threads, use_openmp != 0);
}
