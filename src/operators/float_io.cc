#include "operators/float_io.h"

#include <fmt/format.h>

#include <new>

namespace narrow::operators {

Result<FloatInput> FloatInput::open(const Tensor& tensor, const char* what) {
  FloatInput input;
  input.size_ = tensor.size();
  switch (tensor.dtype()) {
    case DType::kF32:
      input.borrowed_ = static_cast<const float*>(tensor.raw());
      return input;
    case DType::kF64:
    case DType::kF16:
    case DType::kBF16:
      try {
        input.widened_ = tensor.to_float();
      } catch (const std::bad_alloc&) {
        return resource_exhausted(fmt::format("out of memory widening {} to f32", what));
      }
      return input;
    default:
      return unsupported(fmt::format("{} is {}, expected f32, f64, f16 or bf16", what, to_string(tensor.dtype())));
  }
}

Result<FloatOutput> FloatOutput::create(RunContext& context, std::size_t i, DType dtype,
                                        std::span<const std::int64_t> shape) {
  FloatOutput output;
  NARROW_TRY(output.tensor_, context.output(i, dtype, shape));
  if (dtype == DType::kF32) {
    output.direct_ = static_cast<float*>(output.tensor_->mutable_raw());
    return output;
  }
  try {
    output.staged_.resize(static_cast<std::size_t>(output.tensor_->size()));
  } catch (const std::bad_alloc&) {
    return resource_exhausted(fmt::format("out of memory for the f32 form of output {}", i));
  }
  return output;
}

void FloatOutput::store() {
  if (direct_ != nullptr) return;
  const auto narrow_into = [&]<typename T>(std::span<T> out, auto convert) {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = convert(staged_[i]);
  };
  switch (tensor_->dtype()) {
    case DType::kF64: narrow_into(tensor_->mutable_data<double>(), [](float v) { return static_cast<double>(v); }); break;
    case DType::kF16: narrow_into(tensor_->mutable_data<base::Float16>(), base::to_float16); break;
    case DType::kBF16: narrow_into(tensor_->mutable_data<base::BFloat16>(), base::to_bfloat16); break;
    default: break;
  }
}

}  // namespace narrow::operators
