// The tables, one a file; targets.cc lists them.
#pragma once

#include "targets/target.h"

namespace narrow::targets {

extern const Target kOnnxRuntime;
extern const Target kTensorRt;
extern const Target kOpenVino;

}  // namespace narrow::targets
