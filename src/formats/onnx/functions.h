// Model-local functions. Calls are replaced by the function's body while a graph is read, on the level of the encoded
// nodes, so that the rest of the reader never sees a function.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "narrow/result.h"
#include "wire/protobuf.h"

namespace narrow::formats::onnx {

class FunctionTable {
 public:
  // Errors: corrupt (no name, a function given twice). Precondition: the field's bytes outlive the table.
  Status add(const wire::ProtoField& function);
  bool empty() const { return functions_.empty(); }
  // The operator sets that the bodies use: domain -> version.
  const std::map<std::string, std::int64_t>& opsets() const { return opsets_; }

  // The encoded NodeProtos that stand for a call, in order, calls inside them replaced too; null when the node calls no
  // function. Errors: corrupt (recursion, too many inputs), resource_exhausted (calls that multiply without end).
  Result<std::shared_ptr<const std::vector<std::string>>> expand(const wire::ProtoField& node);

 private:
  using Key = std::tuple<std::string, std::string, std::string>;  // domain, name, overload
  struct Function {
    std::vector<std::string> inputs, outputs;
    std::vector<wire::ProtoField> nodes;
    std::map<std::string, wire::ProtoField> defaults;  // attribute -> AttributeProto
  };
  struct Call;

  Result<Call> read_call(const wire::ProtoField& node) const;
  const Function* find(const Call& call) const;
  Status expand_into(const Call& call, const Function& function, int depth, std::vector<std::string>& out);

  std::map<Key, Function> functions_;
  std::map<std::string, std::int64_t> opsets_;
  std::uint64_t defined_bytes_ = 0, expanded_bytes_ = 0;
  std::uint64_t calls_ = 0;
};

}  // namespace narrow::formats::onnx
