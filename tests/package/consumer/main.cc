// A program that knows narrow by its installed package alone: it links, runs, and is told what is wrong.
#include <narrow/model.h>
#include <narrow/version.h>

#include <cstdio>
#include <string>

int main(int, char** argv) {
  const auto missing = narrow::Model::load("no_such_model.onnx");
  if (missing.ok() || missing.error().code() != narrow::ErrorCode::kNotFound) return 1;
  const auto model = narrow::Model::load(argv[1]);
  if (!model.ok()) {
    std::puts(model.error().to_string().c_str());
    return 1;
  }
  std::printf("narrow %s: %s\n", narrow::version().c_str(), model->info().inputs.front().name.c_str());
  return model->info().inputs.front().name == "image" ? 0 : 1;
}
