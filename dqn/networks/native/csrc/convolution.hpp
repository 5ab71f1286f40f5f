// Where the values of a convolution lie: the geometry of one layer, computed once.

#pragma once

#include <cstddef>
#include <vector>

namespace {

inline int round_up(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

// The first one works on blocks: its channels are their pixels, its stride is 1.
struct Convolution {
  int channels, input_side, filters, side, stride, taps;  // kernel = stride * taps
  int kernel, positions, depth, pad;                      // depth = kernel * kernel * channels
  std::vector<ptrdiff_t> offsets, segments;               // of patches in the input
  int segment_size;
  std::vector<ptrdiff_t> padded;                       // of output pixels in the padded output gradient
  std::vector<ptrdiff_t> back_offsets, back_segments;  // of patches in it, for the input gradient
  int back_segment_size = 0, padded_size = 0, packed_gradient_size = 0;
};

// Rows are multiplied `depth` at a time, 1 or 2.
inline Convolution convolution(bool first, int channels, int input_side, int filters, int kernel,
                               int stride, int depth) {
  Convolution c;
  c.channels = channels, c.input_side = input_side, c.filters = filters;
  c.stride = stride, c.kernel = kernel, c.taps = kernel / stride;
  c.side = (input_side - kernel) / stride + 1;
  c.positions = c.side * c.side;
  c.depth = kernel * kernel * channels;
  c.pad = first ? 0 : c.taps - 1;
  const int padded_side = c.side + 2 * c.pad;
  for (int y = 0; y < c.side; ++y)
    for (int x = 0; x < c.side; ++x) {
      c.offsets.push_back(static_cast<ptrdiff_t>(stride * y * input_side + stride * x) * channels);
      c.padded.push_back(static_cast<ptrdiff_t>((y + c.pad) * padded_side + x + c.pad) * filters);
    }
  for (int ky = 0; ky < kernel; ++ky)
    c.segments.push_back(static_cast<ptrdiff_t>(ky) * input_side * channels);
  c.segment_size = kernel * channels;
  if (!first) {
    for (int y = 0; y < input_side / stride; ++y)
      for (int x = 0; x < input_side / stride; ++x)
        c.back_offsets.push_back(static_cast<ptrdiff_t>(y * padded_side + x) * filters);
    for (int a = 0; a < c.taps; ++a)
      c.back_segments.push_back(static_cast<ptrdiff_t>(a) * padded_side * filters);
    c.back_segment_size = c.taps * filters;
  }
  c.padded_size = padded_side * padded_side * filters;
  c.packed_gradient_size = round_up(c.positions, depth) * filters;
  return c;
}

}  // namespace
