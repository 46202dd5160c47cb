// convert IN [OUT [OPSET]]: imports a model, infers its types, prints a summary, exports it. For tests.
#include <cstdio>
#include <cstdlib>

#include "formats/format.h"
#include "operators/infer.h"

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  auto model = narrow::formats::import_model(argv[1]);
  if (!model.ok()) {
    std::fprintf(stderr, "%s\n", model.error().to_string().c_str());
    return 1;
  }
  auto inference = narrow::operators::infer_types(model->graph);
  if (!inference.ok()) {
    std::fprintf(stderr, "%s\n", inference.error().to_string().c_str());
    return 1;
  }
  std::printf("%zu nodes, %zu values, %zu without types\n", model->graph.nodes.size(), model->graph.values.size(), inference->gaps.size());
  if (argc < 3) return 0;
  const narrow::Status status = narrow::formats::export_model(*model, argv[2], {.opset = argc > 3 ? std::atoi(argv[3]) : 0});
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", status.error().to_string().c_str());
    return 1;
  }
  return 0;
}
