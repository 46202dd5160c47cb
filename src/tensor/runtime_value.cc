#include "tensor/runtime_value.h"

#include <fmt/format.h>

namespace narrow {

std::string to_string(const RuntimeValue& value) {
  switch (value.kind()) {
    case RuntimeValue::Kind::kUndefined: return "nothing";
    case RuntimeValue::Kind::kTensor: return std::string(to_string(value.dtype())) + to_string(value.tensor().shape());
    case RuntimeValue::Kind::kSequence: return fmt::format("a sequence of {} {} tensors", value.sequence().size(), to_string(value.dtype()));
    case RuntimeValue::Kind::kNothing: return "an empty optional";
  }
  return "nothing";
}

}  // namespace narrow
