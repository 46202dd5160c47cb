#include "narrow/process.h"

#include "base/atomic_file.h"

namespace narrow {

void remove_temporary_files() noexcept { base::remove_temporary_files(); }

}  // namespace narrow
