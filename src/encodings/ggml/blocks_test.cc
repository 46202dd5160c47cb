// Block decoders and encoders against what ggml's own give.
#include "encodings/ggml/blocks.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "base/float16.h"

namespace narrow::encodings {
namespace {

// One block of bytes (73 i + 29 + 41 seed) mod 256, decoded by gguf.quants.dequantize of the gguf package 0.19:
// the sum of values, each times (1 + its place mod 7), and the values at k * elements / 8 + k mod 3.
struct Decoded {
  const char* name;
  int seed;
  double sum;
  float values[8];
};
constexpr Decoded kDecoded[] = {
    {"Q4_0", 1, -0.04039812088012695, {-0.0, 0.0013318061828613281, 0.0026636123657226562, 0.0017757415771484375, 0.0026636123657226562, -0.0, 0.0026636123657226562, -0.0}},
    {"Q4_1", 1, 0.9529600143432617, {0.006974220275878906, 0.008306026458740234, 0.009637832641601562, 0.008749961853027344, 0.006530284881591797, 0.010525703430175781, 0.006530284881591797, 0.01096963882446289}},
    {"Q5_0", 1, 0.08345985412597656, {0.0017757415771484375, 0.0031075477600097656, 0.004439353942871094, 0.003551483154296875, -0.0017757415771484375, -0.004883289337158203, -0.0017757415771484375, -0.004883289337158203}},
    {"Q5_1", 1, 0.45619630813598633, {0.005198478698730469, -0.0005726814270019531, 0.007862091064453125, -0.00012874603271484375, 0.005642414093017578, 0.0025348663330078125, -0.0014605522155761719, 0.009637832641601562}},
    {"Q8_0", 1, 0.7298297882080078, {0.017757415771484375, -0.030631542205810547, 0.03462696075439453, -0.030187606811523438, 0.03507089614868164, -0.013318061828613281, 0.03551483154296875, -0.012874126434326172}},
    {"Q2_K", 0, 76031.58911132812, {14.619384765625, 96.414794921875, 37.267333984375, 119.49560546875, 58.28173828125, 143.972900390625, 71.9375, 8.9921875}},
    {"Q3_K", 0, 1087.7017822265625, {-0.6478271484375, 6.6942138671875, -0.0, -0.0, 10.797119140625, -10.365234375, -16.843505859375, 5.614501953125}},
    {"Q4_K", 1, -478.27689027786255, {-0.27166175842285156, -0.2851529121398926, -0.5783233642578125, -0.5012516975402832, -0.6106462478637695, -0.909947395324707, -0.18416213989257812, -0.3640446662902832}},
    {"Q5_K", 1, -607.5810647010803, {-0.27166175842285156, -0.692685604095459, -0.5783233642578125, -0.47017621994018555, -0.738499641418457, -1.2535533905029297, -0.5535163879394531, -0.38979291915893555}},
    {"Q6_K", 2, 5.068071484565735, {0.21103084087371826, -0.0729990005493164, -0.3846931457519531, -0.0938558578491211, -0.41366100311279297, -0.04041016101837158, 0.32183289527893066, -0.09776651859283447}},
    {"IQ4_NL", 1, -0.7000861167907715, {-0.0004439353942871094, 0.015537738800048828, 0.03684663772583008, 0.02175283432006836, 0.03684663772583008, -0.0004439353942871094, 0.03684663772583008, -0.0004439353942871094}},
    {"IQ4_XS", 1, -38.31428813934326, {0.8692255020141602, 0.026636123657226562, -0.7329373359680176, -1.0667767524719238, -0.017757415771484375, -0.9584565162658691, -0.19755125045776367, -0.12430191040039062}},
    {"IQ1_S", 1, -0.22085785865783691, {-0.000499427318572998, 0.0006104111671447754, -0.006492555141448975, 0.007491409778594971, 0.000499427318572998, -0.00016647577285766602, -0.0019422173500061035, -0.0034959912300109863}},
    {"IQ1_M", 0, 564.5390625, {47.203857421875, 3.337646484375, 50.064697265625, -1.430419921875, 10.012939453125, -3.337646484375, -23.363525390625, 2.384033203125}},
    {"IQ2_XXS", 1, 4.5835219621658325, {-0.011986255645751953, -0.0013318061828613281, 0.005771160125732422, -0.029133260250091553, -0.01376199722290039, 0.0031075477600097656, -0.023584067821502686, -0.03468245267868042}},
    {"IQ2_XS", 1, -2.5870890021324158, {-0.04056459665298462, -0.0013318061828613281, -0.009322643280029297, -0.009711086750030518, -0.05965381860733032, 0.015260279178619385, -0.04023164510726929, -0.03579229116439819}},
    {"IQ2_S", 1, 0.3620848059654236, {-0.002386152744293213, -0.02635866403579712, -0.002219676971435547, -0.031907856464385986, -0.012485682964324951, 0.037457048892974854, -0.005771160125732422, -0.01376199722290039}},
    {"IQ3_XXS", 1, 2.0494277477264404, {-0.01376199722290039, -0.01464986801147461, -0.0031075477600097656, -0.053716182708740234, -0.052828311920166016, 0.009322643280029297, -0.0332951545715332, -0.012874126434326172}},
    {"IQ3_S", 1, -0.860346794128418, {-0.0004439353942871094, -0.052828311920166016, -0.12652158737182617, -0.07768869400024414, -0.015537738800048828, 0.009322643280029297, -0.030631542205810547, -0.024416446685791016}},
    {"TQ1_0", 0, -39.9130859375, {-0.86767578125, -0.86767578125, -0.86767578125, -0.86767578125, -0.86767578125, 0.86767578125, -0.86767578125, 0.0}},
    {"TQ2_0", 0, -12.502853393554688, {-0.0, -0.0, -0.0248565673828125, 0.0248565673828125, -0.0248565673828125, -0.049713134765625, -0.049713134765625, -0.0248565673828125}},
    {"MXFP4", 15, -1872.0, {-96.0, -32.0, 192.0, -16.0, 16.0, 0.0, 16.0, 0.0}},
    {"NVFP4", 1, -858.4853515625, {-3.5, -5.25, 0.05859375, -0.0439453125, 24.0, 0.0, 0.140625, 0.0}},
};

TEST(GgmlBlocks, DecodeAsThePeerDoes) {
  for (const Decoded& golden : kDecoded) {
    const GgmlBlocks* type = find_ggml_type(std::string_view(golden.name));
    ASSERT_NE(type, nullptr);
    std::vector<std::uint8_t> block(static_cast<std::size_t>(type->bytes));
    for (std::size_t i = 0; i < block.size(); ++i) block[i] = static_cast<std::uint8_t>(73 * i + 29 + 41 * static_cast<std::size_t>(golden.seed));
    // At an odd address, twice.
    std::vector<std::uint8_t> bytes(1);
    for (int copy = 0; copy < 2; ++copy) bytes.insert(bytes.end(), block.begin(), block.end());
    std::vector<float> values(static_cast<std::size_t>(2 * type->elements));
    type->dequantize(bytes.data() + 1, 2 * type->elements, values.data());
    for (int copy = 0; copy < 2; ++copy) {
      const float* found = values.data() + copy * type->elements;
      double sum = 0;
      for (int i = 0; i < type->elements; ++i) sum += static_cast<double>(found[i]) * (1 + i % 7);
      EXPECT_NEAR(sum, golden.sum, std::abs(golden.sum) * 1e-9) << golden.name;
      for (int k = 0; k < 8; ++k) EXPECT_EQ(found[k * type->elements / 8 + k % 3], golden.values[k]) << golden.name << " " << k;
    }
  }
}

TEST(GgmlBlocks, TableIsWhole) {
  std::set<std::string_view> names;
  std::set<GgmlType> ids;
  for (const GgmlBlocks& type : ggml_types()) {
    EXPECT_TRUE(names.insert(type.name).second);
    EXPECT_TRUE(ids.insert(type.type).second);
    EXPECT_EQ(find_ggml_type(static_cast<std::uint32_t>(type.type)), &type);
    EXPECT_EQ(find_ggml_type(type.name), &type);
    EXPECT_TRUE(type.quantize == nullptr || type.dequantize != nullptr) << type.name;
  }
  for (const std::uint32_t removed : {4u, 5u, 31u, 33u, 36u, 38u, 200u, ~0u}) EXPECT_EQ(find_ggml_type(removed), nullptr) << removed;
  for (const GgmlBlocks& type : ggml_types()) EXPECT_EQ(type.dequantize == nullptr, type.name[0] == 'I' && type.name[1] != 'Q') << type.name;  // integers
}

// The sum of four uniform numbers, from a generator that is easy to write again elsewhere.
std::vector<float> bell_curve(std::size_t count) {
  std::vector<float> values(count);
  std::uint32_t state = 12345;
  for (float& value : values) {
    std::int64_t sum = 0;
    for (int i = 0; i < 4; ++i) {
      state = state * 1664525 + 1013904223;
      sum += state >> 16;
    }
    value = static_cast<float>(sum - 131070) / 65536.0f * 0.02f;
  }
  return values;
}

std::vector<float> columns_importance() {
  std::vector<float> importance(256);
  for (std::size_t i = 0; i < 256; ++i) importance[i] = static_cast<float>(i * 37 % 101 + 1);
  return importance;
}

// bell_curve(16 * 256) encoded by quantize_<type> of ggml 0.25.3 (ggml-quants.c), built without fused multiply-add: the FNV-1a
// hash of the bytes, the squared error, and the weighted one when columns_importance() was given to it. Where the search is
// better than the reference the hash is of its own bytes: they are the same with every instruction set.
struct Encoded {
  const char* name;
  std::uint64_t hash;
  double error, weighted_error;
  bool exact;
};
constexpr Encoded kEncoded[] = {
    {"Q4_0", 0xacce0120b9c970aa, 3.711277918e-03, 1.628978482e-01, true}, {"Q4_1", 0x478f66a8fef9c4b1, 3.079770096e-03, 1.165115140e-01, true},
    {"Q5_0", 0xae5c2d3c1f14c937, 9.219014742e-04, 4.020420529e-02, true}, {"Q5_1", 0xd68ea862a72fdbce, 7.327189275e-04, 2.754579315e-02, true},
    {"Q8_0", 0x05d265a1a77731c1, 1.398393567e-05, 7.068773019e-04, true}, {"Q4_K", 0xa93764e9af5ecc7f, 2.569229004e-03, 1.195410013e-01, false},
    {"Q5_K", 0xf08912405872903d, 6.476722857e-04, 3.065137040e-02, false},                 {"Q6_K", 0xdadad33b395f4192, 1.612952826e-04, 7.422296522e-03, false},
};

double error_of(const GgmlBlocks& type, const std::vector<float>& values, const std::vector<std::uint8_t>& bytes, const std::vector<float>* importance) {
  std::vector<float> decoded(values.size());
  type.dequantize(bytes.data(), static_cast<std::int64_t>(values.size()), decoded.data());
  double error = 0;
  for (std::size_t i = 0; i < values.size(); ++i) error += std::pow(static_cast<double>(decoded[i]) - values[i], 2) * (importance == nullptr ? 1 : (*importance)[i % importance->size()]);
  return error;
}

TEST(GgmlBlocks, EncodeAsTheReferenceOrBetter) {
  const std::vector<float> values = bell_curve(16 * 256), importance = columns_importance();
  for (const Encoded& golden : kEncoded) {
    const GgmlBlocks& type = *find_ggml_type(std::string_view(golden.name));
    std::vector<std::uint8_t> bytes(values.size() / static_cast<std::size_t>(type.elements) * static_cast<std::size_t>(type.bytes)), weighted = bytes;
    const auto row_bytes = static_cast<std::size_t>(256 / type.elements * type.bytes);
    for (std::size_t row = 0; row < 16; ++row) {
      type.quantize(values.data() + 256 * row, nullptr, 256, bytes.data() + row_bytes * row);
      type.quantize(values.data() + 256 * row, importance.data(), 256, weighted.data() + row_bytes * row);
    }
    std::uint64_t hash = 0xCBF29CE484222325;
    for (const std::uint8_t byte : bytes) hash = (hash ^ byte) * 0x100000001B3;
    EXPECT_EQ(hash, golden.hash) << golden.name << std::hex << " 0x" << hash;
    if (golden.exact) {
      EXPECT_NEAR(error_of(type, values, bytes, nullptr), golden.error, golden.error * 1e-6) << golden.name;
    } else {
      EXPECT_LT(error_of(type, values, bytes, nullptr), golden.error * 0.97) << golden.name;
    }
    EXPECT_LT(error_of(type, values, weighted, &importance), golden.weighted_error * 1.006) << golden.name;
    EXPECT_LT(error_of(type, values, weighted, &importance), error_of(type, values, bytes, &importance)) << golden.name;
  }
}

// A row that does not fill eight blocks is searched as well.
TEST(GgmlBlocks, ShortRowsWithImportance) {
  const std::vector<float> values = bell_curve(288), importance(288, 2.0f);
  for (const char* name : {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"}) {
    const GgmlBlocks& type = *find_ggml_type(std::string_view(name));
    for (const std::size_t count : {32u, 96u, 256u, 288u}) {
      const std::vector<float> part(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(count));
      std::vector<std::uint8_t> plain(count / 32 * static_cast<std::size_t>(type.bytes) + 1, 0xA5), searched = plain;
      type.quantize(part.data(), nullptr, static_cast<std::int64_t>(count), plain.data());
      type.quantize(part.data(), importance.data(), static_cast<std::int64_t>(count), searched.data());
      EXPECT_EQ(searched.back(), 0xA5) << "wrote beyond the row";
      EXPECT_LE(error_of(type, part, searched, nullptr), error_of(type, part, plain, nullptr)) << name << " " << count;
    }
  }
}

// Whatever the values, decoding gives finite ones, and exact ones where the type can.
TEST(GgmlBlocks, ExtremesStayFinite) {
  const auto filled = [](float a, float b) {
    std::vector<float> v(512);
    for (std::size_t i = 0; i < v.size(); ++i) v[i] = i % 3 == 0 ? a : b;
    return v;
  };
  std::vector<float> outlier = bell_curve(512);
  outlier[100] = 1e30f;
  outlier[300] = -3e38f;
  const std::vector<float> zero(512, 0.0f), none(512, 0.0f), huge(512, 1e38f), ones(512, 1.0f);
  for (const GgmlBlocks& type : ggml_types()) {
    if (type.quantize == nullptr || type.elements == 1) continue;
    for (const auto& values : {zero, filled(-0.0f, 0.0f), filled(0.25f, 0.25f), filled(-0.25f, -0.25f), filled(1e-41f, -1e-42f), filled(1e-38f, -2e-38f), filled(1e5f, -1e5f), filled(3e38f, -3e38f), outlier,
                               filled(0.5f, 0.0f), filled(-8.0f, 7.0f)}) {
      for (const std::vector<float>* importance : {static_cast<const std::vector<float>*>(nullptr), &none, &ones, &huge}) {
        std::vector<std::uint8_t> bytes(512 / static_cast<std::size_t>(type.elements) * static_cast<std::size_t>(type.bytes));
        type.quantize(values.data(), importance == nullptr ? nullptr : importance->data(), 512, bytes.data());
        std::vector<float> decoded(512);
        type.dequantize(bytes.data(), 512, decoded.data());
        for (const float v : decoded) ASSERT_TRUE(std::isfinite(v)) << type.name << " " << values[0];
        if (std::abs(values[0]) <= 8.0f && std::abs(values[0]) >= 0.25f && values != outlier) {
          EXPECT_LT(std::sqrt(error_of(type, values, bytes, nullptr) / 512), std::abs(values[0]) / 30) << type.name << " " << values[0];
        }
      }
    }
  }
}

}  // namespace
}  // namespace narrow::encodings
