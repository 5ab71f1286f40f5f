// The convolutional torso of a DQN on the CPU: forward, and the gradients of all its parameters.
//
//   x * scale -> convolutions, ReLU after each -> flatten -> linear -> ReLU
//
// Every layer is a matrix product whose left operand is never built: a row of it (the patch under one
// output pixel) is a few contiguous segments of the layer's input, and the kernels walk those in
// place. For that, activations lie pixel by pixel, channels last, and frames are cut into blocks of the
// first layer's stride first (space to depth), so that its 8 x 8 stride 4 patches of 4 frames are 2 x 2
// patches of blocks of 4 x 16 pixels. Three kernels do all the work:
//
//   multiply   rows of patches times packed weights:   convolutions, and their input gradients
//   reduce     sums of outer products over rows:       weight gradients, the linear layer's input gradient
//   dot        rows times rows:                        the linear layer forward
//
// The products are computed in float32, or with bfloat16 operands and float32 sums where the processor
// multiplies pairs of them (AVX512_BF16, vdpbf16ps). Work is handed to threads in tasks whose results
// do not depend on who computes them: the same numbers come out for every number of threads.
//
// Compiled by dqn/networks/native/torso.py with a C interface; needs no PyTorch headers.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "convolution.hpp"
#include "kernels.hpp"
#include "thread_pool.hpp"

namespace {

struct Torso {
  virtual ~Torso() = default;
  virtual size_t workspace_bytes(int batch, bool keep, int threads) const = 0;
  virtual void pack(const float* const* parameters, const ptrdiff_t* strides, int threads) = 0;
  virtual void forward(const uint8_t* frames, ptrdiff_t batch_stride, ptrdiff_t frame_stride, int batch,
                       bool keep, void* workspace, float* features, int threads) = 0;
  virtual void backward(int batch, void* workspace, const float* features, const float* gradient,
                        float* const* gradients, const ptrdiff_t* strides, int threads) = 0;
};

template <class P>
class TorsoOf final : public Torso {
  using T = typename P::T;

 public:
  TorsoOf(int num_frames, int screen_side, float scale, int num_layers, const int* filters,
          const int* kernels, const int* strides, int features)
      : num_frames_(num_frames), screen_side_(screen_side), block_(strides[0]), scale_(scale),
        features_(features) {
    // Of a block; pairs are multiplied, so that an odd pixel needs a mate.
    int channels = round_up(num_frames * block_ * block_, 2), side = screen_side / block_;
    for (int l = 0; l < num_layers; ++l) {
      const bool first = l == 0;
      layers_.push_back(convolution(first, channels, side, filters[l], first ? kernels[l] / block_ : kernels[l],
                                    first ? 1 : strides[l], P::kDepth));
      channels = filters[l];
      side = layers_.back().side;
    }
    flat_ = side * side * channels;
    flat_offsets_.resize(features_);
    for (int n = 0; n < features_; ++n) flat_offsets_[n] = static_cast<ptrdiff_t>(n) * flat_;
    for (const Convolution& c : layers_) {
      weights_.emplace_back(static_cast<size_t>(c.depth) * c.filters);
      back_weights_.emplace_back(static_cast<size_t>(c.depth) * c.filters);
      bias_.emplace_back(c.filters);
    }
    if (P::kDepth > 1) flat_weights_.resize(static_cast<size_t>(features_) * flat_);
    // Of one sample: the frames in blocks, every layer's output (the last one channels first, as the
    // linear layer counts).
    const Convolution& blocks = layers_[0];
    sample_ = static_cast<size_t>(blocks.input_side) * blocks.input_side * blocks.channels;
    for (const Convolution& c : layers_) {
      activation_.push_back(sample_);
      sample_ += static_cast<size_t>(c.positions) * c.filters;
    }
    sample_ = round_up(static_cast<int>(sample_), 64);
    // And of its gradients: every layer's, padded for the patches of the layer below, then by pairs.
    for (Convolution& c : layers_) {
      gradient_.push_back(gradients_);
      gradients_ += round_up(c.padded_size, 64);
      packed_gradient_.push_back(gradients_);
      gradients_ += round_up(c.packed_gradient_size, 64);
    }
  }

  size_t workspace_bytes(int batch, bool keep, int threads) const override {
    const size_t last = static_cast<size_t>(batch) * flat_ * sizeof(T);
    if (!keep) return threads * sample_ * sizeof(T) + last + 128;
    const size_t rows = static_cast<size_t>(round_up(batch, 2 * kReduceRows));
    return batch * (sample_ + gradients_) * sizeof(T) + last +
           2 * rows * round_up(features_, 2) * sizeof(T) + static_cast<size_t>(batch) * flat_ * 4 + 1024;
  }

  // Parameters: weight and bias of each convolution, then of the linear layer. Strides: four for every
  // convolution's weight.
  void pack(const float* const* parameters, const ptrdiff_t* strides, int threads) override {
    const int num_layers = static_cast<int>(layers_.size());
    flat_source_ = parameters[2 * num_layers];
    flat_bias_ = parameters[2 * num_layers + 1];
    const int tasks = P::kDepth > 1 ? features_ / 8 : 0;
    ThreadPool::of(threads).run(num_layers + tasks, [&](int task, int) {
      if (task < num_layers) {
        pack_layer(task, parameters[2 * task], strides + 4 * task);
        std::memcpy(bias_[task].data(), parameters[2 * task + 1], bias_[task].size() * sizeof(float));
      } else if constexpr (P::kDepth > 1) {
        const size_t size = static_cast<size_t>(8) * flat_, begin = (task - num_layers) * size;
        for (size_t i = begin; i < begin + size; i += kLanes)
          P::store(flat_weights_.data() + i, load_floats(flat_source_ + i));
      }
    });
  }

  void forward(const uint8_t* frames, ptrdiff_t batch_stride, ptrdiff_t frame_stride, int batch, bool keep,
               void* workspace, float* features, int threads) override {
    T* const samples = aligned(workspace);
    T* const last = samples + (keep ? batch : threads) * sample_;
    ThreadPool& pool = ThreadPool::of(threads);
    pool.run(batch, [&](int b, int thread) {
      T* const sample = samples + (keep ? b : thread) * sample_;
      convolve(frames + b * batch_stride, frame_stride, sample, last + static_cast<ptrdiff_t>(b) * flat_);
    });
    constexpr int kTaskColumns = 4 * kDotColumns;
    pool.run(features_ / kTaskColumns, [&](int task, int) {
      connect(last, batch, task * kTaskColumns, (task + 1) * kTaskColumns, features);
    });
  }

  void backward(int batch, void* workspace, const float* features, const float* gradient,
                float* const* gradients, const ptrdiff_t* strides, int threads) override {
    T* const samples = aligned(workspace);
    T* const last = samples + static_cast<size_t>(batch) * sample_;
    T* const layer_gradients = last + static_cast<size_t>(batch) * flat_;
    T* const by_feature = layer_gradients + static_cast<size_t>(batch) * gradients_;
    const int rows = round_up(batch, 2 * kReduceRows);
    T* const by_sample = by_feature + static_cast<size_t>(rows) * round_up(features_, 2);
    float* const flat_gradient =
        reinterpret_cast<float*>(aligned(by_sample + static_cast<size_t>(rows) * round_up(features_, 2)));
    const int num_layers = static_cast<int>(layers_.size());
    mask_features(batch, rows, features, gradient, by_feature, by_sample, gradients[2 * num_layers + 1]);
    std::vector<ptrdiff_t> sample_offsets(batch);
    for (int b = 0; b < batch; ++b) sample_offsets[b] = static_cast<ptrdiff_t>(b) * flat_;
    const std::vector<WeightTask> tasks = weight_tasks();
    ThreadPool& pool = ThreadPool::of(threads);
    pool.run(flat_ / kReduceColumns, [&](int task, int) {
      linear_input_gradient(batch, by_feature, rows, task * kReduceColumns, flat_gradient);
    });
    pool.run(batch, [&](int b, int) {
      backpropagate(samples + b * sample_, last + static_cast<ptrdiff_t>(b) * flat_,
                    flat_gradient + static_cast<ptrdiff_t>(b) * flat_, layer_gradients + b * gradients_);
    });
    const int linear_tasks = features_ / kReduceRows;
    pool.run(linear_tasks + static_cast<int>(tasks.size()), [&](int task, int) {
      if (task < linear_tasks) {
        linear_weight_gradient(last, sample_offsets, by_sample, task * kReduceRows,
                               gradients[2 * num_layers]);
      } else {
        weight_gradient(tasks[task - linear_tasks], batch, samples, layer_gradients, gradients, strides);
      }
    });
  }

 private:
  struct WeightTask {
    int layer, segment, column, row;
  };

  static T* aligned(void* p) {
    return reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(p) + 63) & ~static_cast<uintptr_t>(63));
  }

  // Where the k-th value of a patch has its weight: offset along three of the weight's four strides, or
  // -1 for a block's padding.
  ptrdiff_t weight_offset(int l, int k, const ptrdiff_t* strides) const {
    const Convolution& c = layers_[l];
    int channel = k % c.channels, kx = k / c.channels % c.kernel, ky = k / c.channels / c.kernel;
    if (l == 0) {
      const int block_pixels = block_ * block_, pixel = channel % block_pixels;
      channel /= block_pixels;
      if (channel >= num_frames_) return -1;
      ky = ky * block_ + pixel / block_, kx = kx * block_ + pixel % block_;
    }
    return channel * strides[1] + ky * strides[2] + kx * strides[3];
  }

  void pack_layer(int l, const float* weight, const ptrdiff_t* strides) {
    const Convolution& c = layers_[l];
    for (int k = 0; k < c.depth; ++k) {
      const ptrdiff_t offset = weight_offset(l, k, strides);
      T* out = weights_[l].data() + (static_cast<ptrdiff_t>(k / P::kDepth) * c.filters) * P::kDepth +
               k % P::kDepth;
      for (int n = 0; n < c.filters; ++n)
        out[n * P::kDepth] = offset < 0 ? T{} : P::from_float(weight[offset + n * strides[0]]);
    }
    if (l == 0) return;  // Screens need no gradient.
    // dx[s i + py, s j + px, channel] = sum over taps a, b and filters n of
    //   dy[i - a, j - b, n] * w[n, channel, py + s a, px + s b]; the patch counts taps downwards.
    const int columns = c.stride * c.stride * c.channels;
    int k = 0;
    for (int a = c.taps - 1; a >= 0; --a)
      for (int b = c.taps - 1; b >= 0; --b)
        for (int n = 0; n < c.filters; ++n, ++k) {
          T* out = back_weights_[l].data() + (static_cast<ptrdiff_t>(k / P::kDepth) * columns) * P::kDepth +
                   k % P::kDepth;
          for (int py = 0; py < c.stride; ++py)
            for (int px = 0; px < c.stride; ++px) {
              const float* source = weight + n * strides[0] + (py + c.stride * a) * strides[2] +
                                    (px + c.stride * b) * strides[3];
              for (int channel = 0; channel < c.channels; ++channel, out += P::kDepth)
                *out = P::from_float(source[channel * strides[1]]);
            }
        }
  }

  // Blocks row by row; in each, one frame's pixels after the other's. 0..255 are exact in both types.
  template <int kBlock>
  void to_blocks(const uint8_t* frames, ptrdiff_t frame_stride, T* out) const {
    const Convolution& c = layers_[0];
    for (int f = 0; f < num_frames_; ++f)
      for (int y = 0; y < screen_side_; ++y) {
        const uint8_t* pixels = frames + f * frame_stride + static_cast<ptrdiff_t>(y) * screen_side_;
        T* row = out + static_cast<ptrdiff_t>(y / kBlock) * c.input_side * c.channels +
                 (f * kBlock + y % kBlock) * kBlock;
        for (int x = 0; x < c.input_side; ++x) {
          T values[kBlock];
          for (int i = 0; i < kBlock; ++i) values[i] = from_pixel(pixels[x * kBlock + i]);
          std::memcpy(row + static_cast<ptrdiff_t>(x) * c.channels, values, sizeof values);
        }
      }
    if (const int used = num_frames_ * kBlock * kBlock; used < c.channels)
      for (int i = 0; i < c.input_side * c.input_side; ++i)
        out[static_cast<ptrdiff_t>(i) * c.channels + used] = T{};
  }

  static T from_pixel(uint8_t pixel) {
    const float value = pixel;
    if constexpr (P::kDepth == 1) {
      return value;
    } else {
      uint32_t bits;
      std::memcpy(&bits, &value, sizeof bits);
      return static_cast<T>(bits >> 16);
    }
  }

  void convolve(const uint8_t* frames, ptrdiff_t frame_stride, T* sample, T* last) const {
    if (block_ == 4) {
      to_blocks<4>(frames, frame_stride, sample);
    } else {
      to_blocks<1>(frames, frame_stride, sample);
    }
    const T* input = sample;
    for (size_t l = 0; l < layers_.size(); ++l) {
      const Convolution& c = layers_[l];
      const float* bias = bias_[l].data();
      const float scale = l == 0 ? scale_ : 1.0f;
      const bool is_last = l + 1 == layers_.size();
      T* const output = sample + activation_[l];
      multiply<P>(input, c.offsets, c.segments, c.segment_size, weights_[l].data(), c.filters,
                  [&](int m, int n, Vector v) {
                    v = v * scale + load_floats(bias + n);
                    v = v < 0.0f ? Vector{} : v;  // NaN stays, and is noticed in the loss
                    if (!is_last) {
                      P::store(output + static_cast<ptrdiff_t>(m) * c.filters + n, v);
                    } else {
                      for (int i = 0; i < kLanes; ++i)
                        last[static_cast<ptrdiff_t>(n + i) * c.positions + m] = P::from_float(v[i]);
                    }
                  });
      input = output;
    }
  }

  const T* flat_weights() const {
    if constexpr (P::kDepth > 1) {
      return flat_weights_.data();
    } else {
      return flat_source_;
    }
  }

  void connect(const T* last, int batch, int begin, int end, float* features) const {
    for (int n = begin; n < end; n += kDotColumns) {
      const T* w[kDotColumns];
      for (int c = 0; c < kDotColumns; ++c) w[c] = flat_weights() + flat_offsets_[n + c];
      for (int m = 0; m < batch; m += kDotRows) {
        const T* x[kDotRows];
        for (int r = 0; r < kDotRows; ++r)
          x[r] = last + static_cast<ptrdiff_t>(std::min(m + r, batch - 1)) * flat_;
        float out[kDotRows][kDotColumns];
        dot_tile<P>(x, w, flat_, out);
        for (int r = 0; r < std::min(kDotRows, batch - m); ++r)
          for (int c = 0; c < kDotColumns; ++c)
            features[static_cast<ptrdiff_t>(m + r) * features_ + n + c] =
                std::max(out[r][c] + flat_bias_[n + c], 0.0f);
      }
    }
  }

  // The gradient of the features behind their ReLU, by pairs of features and by pairs of samples.
  void mask_features(int batch, int rows, const float* features, const float* gradient, T* by_feature,
                     T* by_sample, float* bias_gradient) const {
    std::memset(by_feature, 0, static_cast<size_t>(rows) * round_up(features_, 2) * sizeof(T));
    std::memset(by_sample, 0, static_cast<size_t>(rows) * round_up(features_, 2) * sizeof(T));
    constexpr int depth = P::kDepth;
    for (int n = 0; n < features_; ++n) {
      float sum = 0;
      for (int m = 0; m < batch; ++m) {
        const ptrdiff_t i = static_cast<ptrdiff_t>(m) * features_ + n;
        const float g = features[i] > 0 ? gradient[i] : 0.0f;
        sum += g;
        by_feature[(static_cast<ptrdiff_t>(n / depth) * rows + m) * depth + n % depth] = P::from_float(g);
        by_sample[(static_cast<ptrdiff_t>(m / depth) * features_ + n) * depth + m % depth] =
            P::from_float(g);
      }
      bias_gradient[n] = sum;
    }
  }

  void linear_input_gradient(int batch, const T* by_feature, int rows, int k, float* out) const {
    for (int m = 0; m < batch; m += kReduceRows) {
      Vector sum[kReduceRows][2] = {};
      reduce_add<P>(flat_weights() + k, flat_offsets_, by_feature + m * P::kDepth, rows, sum);
      for (int r = 0; r < std::min(kReduceRows, batch - m); ++r)
        for (int v = 0; v < 2; ++v)
          store_floats(out + static_cast<ptrdiff_t>(m + r) * flat_ + k + v * kLanes, sum[r][v]);
    }
  }

  void linear_weight_gradient(const T* last, const std::vector<ptrdiff_t>& sample_offsets,
                              const T* by_sample, int n, float* out) const {
    for (int k = 0; k < flat_; k += kReduceColumns) {
      Vector sum[kReduceRows][2] = {};
      reduce_add<P>(last + k, sample_offsets, by_sample + n * P::kDepth, features_, sum);
      for (int r = 0; r < kReduceRows; ++r)
        for (int v = 0; v < 2; ++v)
          store_floats(out + static_cast<ptrdiff_t>(n + r) * flat_ + k + v * kLanes, sum[r][v]);
    }
  }

  // One sample's gradients of all layers' outputs, each behind its ReLU.
  void backpropagate(const T* sample, const T* last, const float* flat_gradient, T* gradients) const {
    std::memset(gradients, 0, gradients_ * sizeof(T));
    const int top = static_cast<int>(layers_.size()) - 1;
    const Convolution& t = layers_[top];
    T* out = gradients + gradient_[top];
    for (int n = 0; n < t.filters; ++n)
      for (int m = 0; m < t.positions; ++m) {
        const int i = n * t.positions + m;
        out[t.padded[m] + n] = P::to_float(last[i]) > 0 ? P::from_float(flat_gradient[i]) : T{};
      }
    for (int l = top; l > 0; --l) {
      const Convolution& c = layers_[l];
      const Convolution& below = layers_[l - 1];
      const T* const activation = sample + activation_[l - 1];
      T* const target = gradients + gradient_[l - 1];
      const int half = c.input_side / c.stride;
      multiply<P>(gradients + gradient_[l], c.back_offsets, c.back_segments, c.back_segment_size,
                  back_weights_[l].data(), c.stride * c.stride * c.channels, [&](int m, int n, Vector v) {
                    const int parity = n / c.channels, channel = n % c.channels;
                    const int y = m / half * c.stride + parity / c.stride;
                    const int x = m % half * c.stride + parity % c.stride;
                    const int position = y * c.input_side + x;
                    const T* a = activation + static_cast<ptrdiff_t>(position) * c.channels + channel;
                    T* const g = target + below.padded[position] + channel;
                    Vector mask;
                    for (int i = 0; i < kLanes; ++i) mask[i] = P::to_float(a[i]);
                    P::store(g, mask > 0.0f ? v : Vector{});
                  });
    }
    for (size_t l = 0; l < layers_.size(); ++l)
      pack_rows<P>(gradients + gradient_[l], layers_[l].padded, layers_[l].filters,
                   gradients + packed_gradient_[l]);
  }

  std::vector<WeightTask> weight_tasks() const {
    std::vector<WeightTask> tasks;
    for (int l = 0; l < static_cast<int>(layers_.size()); ++l)
      for (int s = 0; s < static_cast<int>(layers_[l].segments.size()); ++s)
        for (int k = 0; k < layers_[l].segment_size; k += kReduceColumns)
          for (int n = 0; n < layers_[l].filters; n += kReduceRows) tasks.push_back({l, s, k, n});
    return tasks;
  }

  void weight_gradient(const WeightTask& task, int batch, const T* samples, const T* layer_gradients,
                       float* const* gradients, const ptrdiff_t* strides) const {
    const Convolution& c = layers_[task.layer];
    const ptrdiff_t* stride = strides + 4 * task.layer;
    const size_t input = task.layer == 0 ? 0 : activation_[task.layer - 1];
    Vector sum[kReduceRows][2] = {};
    // Where a segment is narrower than the columns, what lies behind it is read and left aside.
    for (int b = 0; b < batch; ++b)
      reduce_add<P>(samples + b * sample_ + input + c.segments[task.segment] + task.column, c.offsets,
                    layer_gradients + b * gradients_ + packed_gradient_[task.layer] + task.row * P::kDepth,
                    c.filters, sum);
    const float scale = task.layer == 0 ? scale_ : 1.0f;
    for (int i = 0; i < std::min(kReduceColumns, c.segment_size - task.column); ++i) {
      const int k = task.segment * c.segment_size + task.column + i;
      const ptrdiff_t offset = weight_offset(task.layer, k, stride);
      if (offset < 0) continue;
      float* out = gradients[2 * task.layer] + offset;
      for (int r = 0; r < kReduceRows; ++r)
        out[(task.row + r) * stride[0]] = scale * sum[r][i / kLanes][i % kLanes];
    }
    if (task.segment == 0 && task.column == 0) {
      for (int r = 0; r < kReduceRows; ++r) {
        float total = 0;
        for (int b = 0; b < batch; ++b) {
          const T* g = layer_gradients + b * gradients_ + gradient_[task.layer] + task.row + r;
          for (int m = 0; m < c.positions; ++m) total += P::to_float(g[c.padded[m]]);
        }
        gradients[2 * task.layer + 1][task.row + r] = total;
      }
    }
  }

  int num_frames_, screen_side_, block_;
  float scale_;
  int features_, flat_ = 0;
  std::vector<Convolution> layers_;
  std::vector<std::vector<T>> weights_, back_weights_;
  std::vector<std::vector<float>> bias_;
  std::vector<T> flat_weights_;
  std::vector<ptrdiff_t> flat_offsets_;
  const float* flat_source_ = nullptr;
  const float* flat_bias_ = nullptr;
  size_t sample_ = 0, gradients_ = 0;
  std::vector<size_t> activation_, gradient_, packed_gradient_;
};

}  // namespace

extern "C" {

// Whether this build computes with bfloat16 operands.
int torso_has_bfloat16() {
#ifdef __AVX512BF16__
  return 1;
#else
  return 0;
#endif
}

int torso_lanes() { return kLanes; }

// The first layer's stride is 1 or 4, and divides screen_side.
void* torso_create(int bfloat16, int num_frames, int screen_side, float scale, int num_layers,
                   const int* filters, const int* kernels, const int* strides, int features) {
#ifdef __AVX512BF16__
  if (bfloat16)
    return new TorsoOf<Bfloat16>(num_frames, screen_side, scale, num_layers, filters, kernels, strides,
                                 features);
#endif
  if (bfloat16) return nullptr;
  return static_cast<Torso*>(
      new TorsoOf<Single>(num_frames, screen_side, scale, num_layers, filters, kernels, strides, features));
}

void torso_destroy(void* torso) { delete static_cast<Torso*>(torso); }

size_t torso_workspace_bytes(void* torso, int batch, int keep, int threads) {
  return static_cast<Torso*>(torso)->workspace_bytes(batch, keep, threads);
}

void torso_pack(void* torso, const float* const* parameters, const ptrdiff_t* strides, int threads) {
  static_cast<Torso*>(torso)->pack(parameters, strides, threads);
}

void torso_forward(void* torso, const uint8_t* frames, ptrdiff_t batch_stride, ptrdiff_t frame_stride,
                   int batch, int keep, void* workspace, float* features, int threads) {
  static_cast<Torso*>(torso)->forward(frames, batch_stride, frame_stride, batch, keep, workspace, features,
                                      threads);
}

void torso_backward(void* torso, int batch, void* workspace, const float* features, const float* gradient,
                    float* const* gradients, const ptrdiff_t* strides, int threads) {
  static_cast<Torso*>(torso)->backward(batch, workspace, features, gradient, gradients, strides, threads);
}
}
