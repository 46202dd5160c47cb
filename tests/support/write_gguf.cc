// write_gguf MODEL OUT.gguf TYPE: a checkpoint as a GGUF file.
#include <cstdio>

#include "language/gguf/export.h"

int main(int argc, char** argv) {
  using namespace narrow;
  if (argc != 4) return 2;
  const auto model = language::open_checkpoint(argv[1]);
  Status status = model.ok() ? Status() : Status(model.error());
  if (status.ok()) {
    base::ThreadPool pool(base::available_processors());
    language::GgufRequest request;
    request.model = &*model;
    request.weights = model->weights.get();
    request.path = argv[2];
    request.type = argv[3];
    request.pool = &pool;
    status = language::write_gguf(request);
  }
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.error().to_string().c_str());
  return status.ok() ? 0 : 1;
}
