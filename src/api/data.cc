#include "narrow/data.h"

#include <filesystem>

#include "api/data_impl.h"
#include "api/model_impl.h"

namespace narrow {
namespace {

std::vector<datasets::InputSpec> input_specs(const Model& model) {
  const graph::Graph& graph = model.impl().typed().graph;
  std::vector<datasets::InputSpec> specs;
  for (const graph::ValueId id : fed_inputs(graph)) specs.push_back({graph.value(id).name, graph.value(id).type});
  return specs;
}

std::string tokenizer_beside(const Model& model) {
  std::error_code error;
  const std::filesystem::path source = model.impl().model.source_path;
  const std::filesystem::path path = (std::filesystem::is_directory(source, error) ? source : source.parent_path()) / "tokenizer.json";
  return std::filesystem::is_regular_file(path, error) ? path.string() : "";
}

}  // namespace

Result<Data> Data::open(const std::string& path, const Model& model, const DataOptions& options) {
  datasets::OpenOptions open_options;
  open_options.inputs = input_specs(model);
  open_options.preprocess = options.preprocess;
  open_options.labels = options.labels;
  open_options.tokenizer = options.tokenizer.empty() ? tokenizer_beside(model) : options.tokenizer;
  NARROW_TRY(std::unique_ptr<datasets::Dataset> dataset, datasets::open_dataset(path, open_options));
  Data data(std::make_shared<const Impl>(Impl{std::move(dataset), path, options.preprocess, open_options.tokenizer}));
  return options.samples == 0 ? data : data.take(options.samples);
}

Result<Data> Data::synthetic(const Model& model, std::uint64_t count, std::uint64_t seed) {
  NARROW_TRY(std::unique_ptr<datasets::Dataset> dataset, datasets::synthetic_dataset(input_specs(model), count, seed));
  return Data(std::make_shared<const Impl>(Impl{std::move(dataset), "", "", ""}));
}

Data Data::take(std::uint64_t count) const {
  return Data(std::make_shared<const Impl>(
      Impl{datasets::take_samples(impl_->samples, count), impl_->path, impl_->preprocess, impl_->tokenizer}));
}

std::uint64_t Data::size() const { return impl_->samples->size(); }
bool Data::labelled() const { return impl_->samples->labelled(); }
std::string Data::describe() const { return impl_->samples->describe(); }
const std::string& Data::path() const { return impl_->path; }
const std::string& Data::preprocess() const { return impl_->preprocess; }
const std::string& Data::tokenizer() const { return impl_->tokenizer; }

}  // namespace narrow
