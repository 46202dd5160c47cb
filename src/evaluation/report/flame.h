// Where the time of a run goes, as flame charts that hang from the top.
#pragma once

#include <string>
#include <vector>

#include "narrow/figures.h"

namespace narrow::evaluation {

// Widths are times. Under the whole run: operators, the kernels that ran them, their nodes.
std::string kernel_flame(const std::vector<KernelTime>& kernels);

// The same by the scopes in the nodes' names ("/encoder/layer.0/Add"); "" when names hold none.
std::string scope_flame(const std::vector<KernelTime>& kernels);

}  // namespace narrow::evaluation
