// The cases of ONNX's backend test data: a model, inputs and the outputs that they must give.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "narrow/result.h"
#include "tensor/runtime_value.h"

namespace narrow::conformance {

struct DataSet {
  std::vector<std::filesystem::path> inputs, outputs;  // .pb files, by position
};

struct Case {
  std::string name;  // "node/test_abs": group and folder
  std::filesystem::path model;
  std::vector<DataSet> sets;
  bool made_inputs = false;  // no input files: input element i of n is i / n (the group "light")
};

// Cases under `root`, ordered by name, whose names contain one of `filters` (none: every case). Errors: not_found, when
// the folder holds no case at all.
Result<std::vector<Case>> find_cases(const std::filesystem::path& root, const std::vector<std::string>& filters);

struct Value {
  std::string name;
  RuntimeValue value;
};

struct Data {
  std::vector<Value> inputs, outputs;  // named as the graph's
};

// The files of one set, each read as what the graph declares at its position. Errors: corrupt, unsupported, io.
Result<Data> read_data(const Case& one, const DataSet& set, const graph::Graph& graph);

}  // namespace narrow::conformance
