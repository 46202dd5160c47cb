// How long work reports how far it is.
#pragma once

#include <cstddef>
#include <functional>
#include <string_view>

namespace narrow {

// Called from the thread that started the work, never concurrently. `phase` is a short text ("calibrating"); total is 0
// when it is not known.
using Progress = std::function<void(std::string_view phase, std::size_t done, std::size_t total)>;

}  // namespace narrow
