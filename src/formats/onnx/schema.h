// Field numbers of the ONNX messages (onnx.proto, IR version 3 to 14).
#pragma once

#include <cstdint>

namespace narrow::formats::onnx {

inline constexpr std::int64_t kOldestIr = 3, kNewestIr = 14;
inline constexpr std::int64_t kNewestOpset = 28;     // of ai.onnx
inline constexpr std::int64_t kNormalisedOpset = 24; // whose meaning the graph's operators have after import
inline constexpr int kMaxGraphDepth = 64;            // graphs inside graphs

namespace model_field {
enum : std::uint32_t { kIrVersion = 1, kProducerName = 2, kProducerVersion = 3, kDomain = 4, kModelVersion = 5, kDoc = 6,
                       kGraph = 7, kOpsetImport = 8, kMetadata = 14, kTrainingInfo = 20, kFunctions = 25, kConfiguration = 26 };
}
namespace opset_field {
enum : std::uint32_t { kDomain = 1, kVersion = 2 };
}
namespace entry_field {
enum : std::uint32_t { kKey = 1, kValue = 2 };
}
namespace graph_field {
enum : std::uint32_t { kNode = 1, kName = 2, kInitializer = 5, kDoc = 10, kInput = 11, kOutput = 12, kValueInfo = 13,
                       kQuantizationAnnotation = 14, kSparseInitializer = 15, kMetadata = 16 };
}
namespace node_field {
enum : std::uint32_t { kInput = 1, kOutput = 2, kName = 3, kOpType = 4, kAttribute = 5, kDoc = 6, kDomain = 7,
                       kOverload = 8, kMetadata = 9 };
}
namespace attribute_field {
enum : std::uint32_t { kName = 1, kF = 2, kI = 3, kS = 4, kT = 5, kG = 6, kFloats = 7, kInts = 8, kStrings = 9,
                       kTensors = 10, kGraphs = 11, kDoc = 13, kTypeProto = 14, kTypeProtos = 15, kType = 20,
                       kRefName = 21, kSparse = 22, kSparses = 23 };
}
enum class AttributeType : std::int64_t { kUndefined = 0, kFloat = 1, kInt = 2, kString = 3, kTensor = 4, kGraph = 5,
                                          kFloats = 6, kInts = 7, kStrings = 8, kTensors = 9, kGraphs = 10, kSparse = 11,
                                          kSparses = 12, kTypeProto = 13, kTypeProtos = 14 };
namespace tensor_field {
enum : std::uint32_t { kDims = 1, kDataType = 2, kSegment = 3, kFloatData = 4, kInt32Data = 5, kStringData = 6,
                       kInt64Data = 7, kName = 8, kRawData = 9, kDoubleData = 10, kUint64Data = 11, kDoc = 12,
                       kExternalData = 13, kDataLocation = 14 };
}
namespace sparse_field {
enum : std::uint32_t { kValues = 1, kIndices = 2, kDims = 3 };
}
namespace value_field {
enum : std::uint32_t { kName = 1, kType = 2, kDoc = 3 };
}
namespace type_field {
enum : std::uint32_t { kTensor = 1, kSequence = 4, kMap = 5, kDenotation = 6, kOpaque = 7, kSparseTensor = 8, kOptional = 9 };
enum : std::uint32_t { kElemType = 1, kShape = 2 };        // TypeProto.Tensor
enum : std::uint32_t { kInner = 1 };                       // TypeProto.Sequence, TypeProto.Optional
enum : std::uint32_t { kDim = 1 };                         // TensorShapeProto
enum : std::uint32_t { kDimValue = 1, kDimParam = 2 };     // TensorShapeProto.Dimension
}
namespace function_field {
enum : std::uint32_t { kName = 1, kInput = 4, kOutput = 5, kAttribute = 6, kNode = 7, kDoc = 8, kOpsetImport = 9,
                       kDomain = 10, kAttributeProto = 11, kOverload = 13 };
}

}  // namespace narrow::formats::onnx
