// Llama 2 and 3, SmolLM, TinyLlama (Touvron et al. 2023, arXiv:2307.09288) and Mistral, which adds a window.
#include "language/architectures/architectures.h"

namespace narrow::language {

Result<Spec> read_llama(const wire::Fields& config) { return read_common(config); }

}  // namespace narrow::language
