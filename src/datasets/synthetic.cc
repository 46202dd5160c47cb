#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include <fmt/format.h>

#include "datasets/dataset.h"
#include "datasets/npy_tensor.h"

namespace narrow::datasets {
namespace {

// SplitMix64 (Steele et al. 2014): the same numbers on every machine, a stream per sample and input.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t bits() {
    std::uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  double uniform() { return (static_cast<double>(bits() >> 11) + 0.5) * 0x1p-53; }  // in (0, 1)
  double normal() {                                                                // Box-Muller
    if (std::exchange(has_spare_, !has_spare_)) return spare_;
    const double radius = std::sqrt(-2 * std::log(uniform())), angle = 2 * std::numbers::pi * uniform();
    spare_ = radius * std::sin(angle);
    return radius * std::cos(angle);
  }

 private:
  std::uint64_t state_;
  bool has_spare_ = false;
  double spare_ = 0;
};

// Floats are normal; integers are 0 or 1, which every index and mask accepts.
class Synthetic : public Dataset {
 public:
  Synthetic(std::vector<InputSpec> inputs, std::vector<Shape> shapes, std::size_t count, std::uint64_t seed)
      : inputs_(std::move(inputs)), shapes_(std::move(shapes)), count_(count), seed_(seed) {}

  std::size_t size() const override { return count_; }
  bool labelled() const override { return false; }
  std::string describe() const override { return fmt::format("{} random samples, seed {}", count_, seed_); }

  Result<Sample> read(std::size_t index) const override {
    Sample sample;
    sample.name = fmt::format("random sample {}", index);
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      const DType dtype = inputs_[i].type.dtype;
      NARROW_TRY(Tensor floats, Tensor::create(DType::kF32, shapes_[i]));
      Random random(Random(seed_ + 0x632BE59BD9B4E019u * (index * inputs_.size() + i + 1)).bits());
      for (float& v : floats.mutable_data<float>()) {
        v = is_float(dtype) ? static_cast<float>(random.normal()) : static_cast<float>(random.bits() & 1);
      }
      Tensor tensor = floats;
      if (!is_float(dtype)) {
        NARROW_TRY(Tensor bits, Tensor::create(DType::kU8, shapes_[i]));
        std::copy(floats.data<float>().begin(), floats.data<float>().end(), bits.mutable_data<std::uint8_t>().begin());
        tensor = std::move(bits);
      }
      NARROW_TRY(tensor, convert_elements(tensor, dtype, fmt::format("input '{}'", inputs_[i].name)));
      sample.inputs.emplace_back(inputs_[i].name, std::move(tensor));
    }
    return sample;
  }

 private:
  std::vector<InputSpec> inputs_;
  std::vector<Shape> shapes_;
  std::size_t count_;
  std::uint64_t seed_;
};

}  // namespace

Result<std::unique_ptr<Dataset>> synthetic_dataset(const std::vector<InputSpec>& inputs, std::size_t count, std::uint64_t seed) {
  std::vector<Shape> shapes;
  for (const InputSpec& input : inputs) {
    if (!input.type.ranked) {
      return unsupported(fmt::format("input '{}' is {}: random data needs a known rank", input.name, graph::to_string(input.type)));
    }
    Shape& shape = shapes.emplace_back();
    for (const graph::Dim& dim : input.type.dims) shape.push_back(dim.known() ? dim.size : 1);
  }
  return std::unique_ptr<Dataset>(std::make_unique<Synthetic>(inputs, std::move(shapes), count, seed));
}

}  // namespace narrow::datasets
