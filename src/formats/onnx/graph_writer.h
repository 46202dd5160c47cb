// Graph to GraphProto. Tensor bytes stay where they are: messages hold views, external tensors only their place.
#pragma once

#include <unordered_map>
#include <vector>

#include "graph/graph.h"
#include "wire/protobuf.h"

namespace narrow::formats::onnx {

// Tensors that go to the data file, in order, each at an aligned offset; the same bytes are stored once.
class ExternalLayout {
 public:
  struct Entry { wire::ByteSpan bytes; std::uint64_t offset; };

  ExternalLayout(std::string location, std::uint64_t smallest) : location_(std::move(location)), smallest_(smallest) {}
  bool takes(const Tensor& tensor) const { return tensor.dtype() != DType::kString && tensor.bytes() >= smallest_; }
  std::uint64_t place(const Tensor& tensor);
  const std::string& location() const { return location_; }
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  std::string location_;
  std::uint64_t smallest_;
  std::vector<Entry> entries_;
  std::unordered_map<const void*, std::size_t> by_address_;
  std::uint64_t end_ = 0;
};

// `external` null: everything inside. The graph must outlive the message.
wire::ProtoMessage write_graph(const graph::Graph& graph, ExternalLayout* external);

}  // namespace narrow::formats::onnx
