#include "datasets/dataset.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <thread>

#include "../../tests/support/shared_data.h"
#include "base/atomic_file.h"
#include "datasets/npy_tensor.h"
#include "wire/inflate.h"
#include "wire/zip.h"

namespace narrow::datasets {
namespace {

namespace fs = std::filesystem;
using graph::Dim;
using graph::Type;

class Datasets : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("narrow_datasets_" + std::string(testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  void write(const std::string& name, const std::string& bytes) const {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
  }
  // A 2 x 2 picture with every pixel of this colour.
  void picture(const std::string& name, int r, int g, int b, int side = 2) const {
    std::string bytes = "P6 " + std::to_string(side) + " " + std::to_string(side) + " 255\n";
    for (int i = 0; i < side * side; ++i) bytes += {static_cast<char>(r), static_cast<char>(g), static_cast<char>(b)};
    write(name, bytes);
  }
  void npz(const std::string& name, const std::vector<std::pair<std::string, Tensor>>& arrays) const {
    auto file = base::AtomicFile::create(path(name));
    ASSERT_TRUE(file.ok());
    wire::ZipWriter zip(*file);
    for (const auto& [key, tensor] : arrays) {
      const std::string bytes = *npy_bytes(tensor);
      ASSERT_TRUE(zip.add(key + ".npy", {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}).ok());
    }
    ASSERT_TRUE(zip.finish().ok());
    ASSERT_TRUE(file->commit().ok());
  }

  fs::path folder_;
};

OpenOptions image_options(std::string preprocess = "", std::vector<Dim> dims = {Dim("N"), 3, 2, 2}) {
  OpenOptions options;
  options.inputs.push_back({"data", Type::tensor(DType::kF32, std::move(dims))});
  options.preprocess = std::move(preprocess);
  return options;
}

OpenOptions array_options(std::vector<InputSpec> inputs) {
  OpenOptions options;
  options.inputs = std::move(inputs);
  return options;
}

std::unique_ptr<Dataset> open(const std::string& path, const OpenOptions& options) {
  auto dataset = open_dataset(path, options);
  EXPECT_TRUE(dataset.ok()) << (dataset.ok() ? "" : dataset.error().to_string());
  return dataset.ok() ? *std::move(dataset) : nullptr;
}

Sample read(const Dataset& dataset, std::size_t index) {
  auto sample = dataset.read(index);
  EXPECT_TRUE(sample.ok()) << (sample.ok() ? "" : sample.error().to_string());
  return sample.ok() ? *std::move(sample) : Sample{};
}

std::vector<float> floats(const Sample& sample, std::size_t input = 0) {
  return input < sample.inputs.size() ? sample.inputs[input].second.to_float() : std::vector<float>{};
}

template <typename T>
std::string problem(const Result<T>& result) {
  return result.ok() ? "accepted" : result.error().to_string();
}

TEST_F(Datasets, LabelsFileDecidesOrderAndClasses) {
  picture("p/red.ppm", 200, 0, 0);
  picture("p/blue.ppm", 0, 0, 100);
  write("labels.tsv", "#file\tclass\np/red.ppm\t7\tred\np/blue.ppm\t2\tblue\n");
  const auto data = open(folder_.string(), image_options());
  ASSERT_EQ(data->size(), 2u);
  EXPECT_TRUE(data->labelled());
  EXPECT_EQ(read(*data, 0).label, 7);
  EXPECT_EQ(read(*data, 1).label, 2);
  EXPECT_EQ(floats(read(*data, 0)), (std::vector<float>{200, 200, 200, 200, 0, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_NE(read(*data, 1).name.find("blue.ppm"), std::string::npos);
  write("other.tsv", "p/blue.ppm\t5\n");
  OpenOptions other = image_options();
  other.labels = path("other.tsv");
  const auto fewer = open(folder_.string(), other);
  ASSERT_EQ(fewer->size(), 1u);
  EXPECT_EQ(read(*fewer, 0).label, 5);
}

TEST_F(Datasets, ClassFoldersCountInNameOrder) {
  picture("dog/1.ppm", 1, 1, 1);
  picture("cat/deep/2.ppm", 2, 2, 2);
  picture("ant/3.ppm", 3, 3, 3);
  write("ant/notes.txt", "not a picture");
  const auto data = open(folder_.string(), image_options());
  ASSERT_EQ(data->size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(read(*data, i).label, static_cast<std::int64_t>(i));
  EXPECT_EQ(floats(read(*data, 0))[0], 3);
}

TEST_F(Datasets, LooseOrSingleFolderPicturesAreUnlabelled) {
  picture("images/1.ppm", 1, 1, 1);
  picture("images/2.ppm", 2, 2, 2);
  EXPECT_FALSE(open(folder_.string(), image_options())->labelled());
  picture("3.ppm", 3, 3, 3);
  EXPECT_EQ(open(folder_.string(), image_options())->size(), 3u);
}

TEST_F(Datasets, LoopsOfLinksEnd) {
  picture("a/1.ppm", 1, 1, 1);
  fs::create_directory_symlink(folder_, folder_ / "a" / "up");
  EXPECT_EQ(open(folder_.string(), image_options())->size(), 1u);
}

TEST_F(Datasets, BadLabelsAreNamed) {
  picture("1.ppm", 1, 1, 1);
  for (const auto& [text, says] : std::vector<std::pair<std::string, std::string>>{
           {"1.ppm\tcat\n", "line 1"}, {"#h\n1.ppm\t-1\n", "line 2"}, {"../1.ppm\t0\n", "leaves"}, {"/etc/passwd\t0\n", "leaves"},
           {"1.ppm\t1\n2.ppm\n", "line 2"}, {"", "no labels"}, {"3\n", "without paths"}}) {
    write("labels.tsv", text);
    EXPECT_NE(problem(open_dataset(folder_.string(), image_options())).find(says), std::string::npos)
        << text << problem(open_dataset(folder_.string(), image_options()));
  }
  write("labels.tsv", "missing.ppm\t1\n");
  const auto data = open(folder_.string(), image_options());
  const auto sample = data->read(0);
  ASSERT_FALSE(sample.ok());
  EXPECT_EQ(sample.error().code(), ErrorCode::kNotFound);
  EXPECT_NE(sample.error().to_string().find("missing.ppm"), std::string::npos);
}

TEST_F(Datasets, PreprocessingMeansWhatTheHeaderSays) {
  picture("1.ppm", 10, 20, 30);
  const auto first_of = [&](const std::string& preprocess, std::vector<Dim> dims) {
    return floats(read(*open(folder_.string(), image_options(preprocess, std::move(dims))), 0));
  };
  const std::vector<Dim> nchw = {1, 3, 2, 2};
  const std::vector<float> bgr = first_of("order=bgr,mean=1/2/3,std=2/4/8", nchw);
  EXPECT_EQ(bgr, (std::vector<float>{14.5, 14.5, 14.5, 14.5, 4.5, 4.5, 4.5, 4.5, 0.875, 0.875, 0.875, 0.875}));
  EXPECT_EQ(first_of("scale=1/10,mean=1", nchw)[4], 1.0f);
  EXPECT_EQ(first_of("", {1, 2, 2, 3}), (std::vector<float>{10, 20, 30, 10, 20, 30, 10, 20, 30, 10, 20, 30}));
  EXPECT_EQ(first_of("", {1, 1, 1, 1}), std::vector<float>{18});  // luma, resized to the input
  EXPECT_EQ(first_of("resize=letterbox-3,pad=5,order=rgb", {1, 3, 3, 3}).size(), 27u);
  EXPECT_EQ(first_of("", {1, 3, Dim("H"), Dim("W")}).size(), 12u);  // unknown size: as it is
}

TEST_F(Datasets, LetterboxKeepsTheRatio) {
  std::string wide = "P5 4 2 255\n";
  wide += std::string(8, static_cast<char>(200));
  write("1.pgm", wide);
  const auto x = floats(read(*open(folder_.string(), image_options("resize=letterbox-4,pad=114", {1, 1, 4, 4})), 0));
  EXPECT_EQ(x, (std::vector<float>{200, 200, 200, 200, 200, 200, 200, 200, 114, 114, 114, 114, 114, 114, 114, 114}));
}

TEST_F(Datasets, MisfitsNameWhatWasExpected) {
  picture("1.ppm", 1, 2, 3);
  const auto data = open(folder_.string(), image_options("crop=4", {1, 3, 4, 4}));
  EXPECT_NE(problem(data->read(0)).find("2 x 2"), std::string::npos);
  const auto wrong = open(folder_.string(), image_options("resize=8x8", {1, 3, 4, 4}));
  EXPECT_NE(problem(wrong->read(0)).find("expects 4 x 4"), std::string::npos) << problem(wrong->read(0));
  EXPECT_NE(problem(open_dataset(folder_.string(), image_options("", {4, 3, 2, 2}))).find("batch"), std::string::npos);
  EXPECT_NE(problem(open_dataset(folder_.string(), image_options("", {1, 128}))).find("rank 4"), std::string::npos);
  EXPECT_NE(problem(open_dataset(folder_.string(), image_options("layout=nhwc", {1, 3, 2, 2}))).find("channels"), std::string::npos);
  EXPECT_NE(problem(open_dataset(folder_.string(), image_options("mean=1/2/3", {1, 1, 2, 2}))).find("1 channel"), std::string::npos);
  EXPECT_NE(problem(open_dataset(path("nowhere"), image_options())).find("nowhere"), std::string::npos);
  write("sub/text.txt", "x");
  EXPECT_NE(problem(open_dataset(path("sub"), image_options())).find("no JPEG"), std::string::npos);
  EXPECT_NE(problem(open_dataset(path("sub/text.txt"), image_options())).find("accepted are"), std::string::npos);
}

TEST_F(Datasets, IntegerInputsGetPixels) {
  picture("1.ppm", 10, 200, 30);
  OpenOptions options = image_options("order=bgr", {1, 2, 2, 3});
  options.inputs[0].type.dtype = DType::kU8;
  const Sample sample = read(*open(folder_.string(), options), 0);
  EXPECT_EQ(sample.inputs[0].second.dtype(), DType::kU8);
  EXPECT_EQ(floats(sample), (std::vector<float>{30, 200, 10, 30, 200, 10, 30, 200, 10, 30, 200, 10}));
  options.inputs[0].type.dtype = DType::kF16;
  EXPECT_EQ(floats(read(*open(folder_.string(), options), 0))[1], 200);
}

TEST_F(Datasets, Cifar) {
  std::string ten, hundred;
  for (int i = 0; i < 2; ++i) {
    std::string planes;
    for (int c = 0; c < 3; ++c) planes += std::string(1024, static_cast<char>(10 * c + i));
    ten += std::string(1, static_cast<char>(3 + i)) + planes;
    hundred += std::string(1, '\1') + std::string(1, static_cast<char>(50 + i)) + planes;
  }
  write("ten/b1.bin", ten);
  write("ten/b2.bin", ten);
  write("hundred.bin", hundred);
  const OpenOptions options = image_options("", {1, 3, 32, 32});
  const auto folder = open(path("ten"), options);
  ASSERT_EQ(folder->size(), 4u);
  EXPECT_EQ(read(*folder, 3).label, 4);
  EXPECT_EQ(floats(read(*folder, 3))[2 * 1024], 21);
  const auto fine = open(path("hundred.bin"), options);
  ASSERT_EQ(fine->size(), 2u);
  EXPECT_EQ(read(*fine, 1).label, 51);
  write("ten/b3.bin", "short");
  EXPECT_NE(problem(open_dataset(path("ten"), options)).find("b3.bin"), std::string::npos);
}

TEST_F(Datasets, MnistWithItsLabels) {
  const auto idx = [](int rank, std::vector<int> sizes, const std::string& data) {
    std::string out = {0, 0, 8, static_cast<char>(rank)};
    for (int s : sizes) out += {0, 0, 0, static_cast<char>(s)};
    return out + data;
  };
  write("t10k-images-idx3-ubyte", idx(3, {2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8}));
  write("t10k-labels-idx1-ubyte", idx(1, {2}, {9, 4}));
  const OpenOptions options = image_options("", {1, 1, 2, 2});
  for (const std::string& where : {path("t10k-images-idx3-ubyte"), folder_.string()}) {
    const auto data = open(where, options);
    ASSERT_EQ(data->size(), 2u);
    EXPECT_EQ(read(*data, 1).label, 4);
    EXPECT_EQ(floats(read(*data, 1)), (std::vector<float>{5, 6, 7, 8}));
  }
  write("t10k-labels-idx1-ubyte", idx(1, {3}, {9, 4, 4}));
  EXPECT_NE(problem(open_dataset(folder_.string(), options)).find("expected 2 labels"), std::string::npos);
  write("t10k-images-idx3-ubyte", idx(3, {2, 2, 3}, {1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_NE(problem(open_dataset(folder_.string(), options)).find("do not fit"), std::string::npos);
}

TEST_F(Datasets, NpySamplesAlongTheFirstAxis) {
  write("x.npy", *npy_bytes(Tensor::from<float>({3, 2}, {1, 2, 3, 4, 5, 6})));
  const auto data = open(path("x.npy"), array_options({{"x", Type::tensor(DType::kF32, {Dim("N"), 2})}}));
  ASSERT_EQ(data->size(), 3u);
  EXPECT_FALSE(data->labelled());
  EXPECT_EQ(read(*data, 1).inputs[0].second.shape(), (Shape{1, 2}));
  EXPECT_EQ(floats(read(*data, 2)), (std::vector<float>{5, 6}));
  // Without its batch dimension: one sample.
  write("y.npy", *npy_bytes(Tensor::from<double>({2}, {7, 8})));
  const auto one = open(path("y.npy"), array_options({{"x", Type::tensor(DType::kF32, {1, 2})}}));
  ASSERT_EQ(one->size(), 1u);
  EXPECT_EQ(floats(read(*one, 0)), (std::vector<float>{7, 8}));
  // A fixed batch of 3 takes three rows.
  EXPECT_EQ(open(path("x.npy"), array_options({{"x", Type::tensor(DType::kF32, {3, 2})}}))->size(), 1u);
  const auto misfit = problem(open_dataset(path("x.npy"), array_options({{"x", Type::tensor(DType::kF32, {Dim("N"), 5})}})));
  EXPECT_NE(misfit.find("[3,2]"), std::string::npos) << misfit;
  OpenOptions labelled = array_options({{"x", Type::tensor(DType::kF32, {Dim("N"), 2})}});
  write("labels.npy", *npy_bytes(Tensor::from<std::int64_t>({3}, {4, 0, 2})));
  labelled.labels = path("labels.npy");
  EXPECT_EQ(read(*open(path("x.npy"), labelled), 2).label, 2);
  write("labels.txt", "4\n0\n");
  labelled.labels = path("labels.txt");
  EXPECT_NE(problem(open_dataset(path("x.npy"), labelled)).find("2 labels"), std::string::npos);
}

TEST_F(Datasets, NpyPicturesArePreprocessed) {
  write("x.npy", *npy_bytes(Tensor::from<std::uint8_t>({2, 1, 1, 3}, {1, 2, 3, 4, 5, 6})));
  const auto data = open(path("x.npy"), image_options("order=bgr,mean=1", {1, 3, 1, 1}));
  EXPECT_EQ(floats(read(*data, 1)), (std::vector<float>{5, 4, 3}));
  write("f.npy", *npy_bytes(Tensor::from<float>({1, 3, 1, 1}, {1, 2, 3})));
  EXPECT_NE(problem(open_dataset(path("f.npy"), image_options("imagenet", {1, 3, 1, 1}))).find("--preprocess"), std::string::npos);
  EXPECT_EQ(open(path("f.npy"), image_options("none", {1, 3, 1, 1}))->size(), 1u);
}

TEST_F(Datasets, NpzByInputName) {
  const Tensor ids = Tensor::from<std::int32_t>({2, 3}, {1, 2, 3, 4, 5, 6});
  npz("a.npz", {{"ids", ids}, {"state", Tensor::from<float>({2, 2, 1}, {1, 2, 3, 4})}, {"rate", Tensor::scalar<std::int64_t>(16000)},
                {"labels", Tensor::from<std::int64_t>({2}, {1, 0})}});
  const std::vector<InputSpec> inputs = {{"ids", Type::tensor(DType::kS64, {Dim("N"), Dim("L")})},
                                         {"state", Type::tensor(DType::kF32, {2, 1})},
                                         {"rate", Type::tensor(DType::kS64, {})}};
  const auto data = open(path("a.npz"), array_options(inputs));
  ASSERT_EQ(data->size(), 2u);
  const Sample second = read(*data, 1);
  EXPECT_EQ(second.label, 0);
  EXPECT_EQ(second.inputs[0].second.dtype(), DType::kS64);
  EXPECT_EQ(floats(second, 0), (std::vector<float>{4, 5, 6}));
  EXPECT_EQ(second.inputs[1].second.shape(), (Shape{2, 1}));
  EXPECT_EQ(floats(second, 1), (std::vector<float>{3, 4}));
  EXPECT_EQ(floats(second, 2), std::vector<float>{16000});
  const auto missing = problem(open_dataset(path("a.npz"), array_options({{"idz", Type::tensor(DType::kS64, {1, 3})}, inputs[1]})));
  EXPECT_NE(missing.find("did you mean 'ids.npy'"), std::string::npos) << missing;
}

TEST_F(Datasets, NpzFolderOfDifferentLengths) {
  npz("b.npz", {{"x", Tensor::from<float>({1, 3}, {1, 2, 3})}, {"labels", Tensor::from<std::int64_t>({1}, {5})}});
  npz("a.npz", {{"x", Tensor::from<float>({1, 2}, {8, 9})}, {"labels", Tensor::from<std::int64_t>({1}, {6})}});
  const auto data = open(folder_.string(), array_options({{"x", Type::tensor(DType::kF32, {1, Dim("L")})}}));
  ASSERT_EQ(data->size(), 2u);
  EXPECT_EQ(read(*data, 0).inputs[0].second.shape(), (Shape{1, 2}));
  EXPECT_EQ(read(*data, 1).label, 5);
  write("c.npz", "PK\3\4 broken");
  EXPECT_FALSE(open(folder_.string(), array_options({{"x", Type::tensor(DType::kF32, {1, Dim("L")})}}))->read(2).ok());
}

TEST_F(Datasets, ElementsThatDoNotFitAreRefused) {
  write("x.npy", *npy_bytes(Tensor::from<std::int64_t>({1, 2}, {1, 300})));
  const auto narrow_input = open(path("x.npy"), array_options({{"x", Type::tensor(DType::kU8, {1, 2})}}));
  EXPECT_NE(problem(narrow_input->read(0)).find("does not fit"), std::string::npos);
  write("f.npy", *npy_bytes(Tensor::from<float>({1, 2}, {1, 2})));
  const auto integer_input = open(path("f.npy"), array_options({{"x", Type::tensor(DType::kS64, {1, 2})}}));
  EXPECT_NE(problem(integer_input->read(0)).find("expects s64"), std::string::npos);
}

TEST_F(Datasets, RawFloats) {
  const float x[] = {1, 2, 3, 4};
  write("x.raw", std::string(reinterpret_cast<const char*>(x), sizeof x));
  const auto data = open(path("x.raw"), array_options({{"x", Type::tensor(DType::kF32, {Dim("N"), 2})}}));
  ASSERT_EQ(data->size(), 2u);
  EXPECT_EQ(floats(read(*data, 1)), (std::vector<float>{3, 4}));
  EXPECT_NE(problem(open_dataset(path("x.raw"), array_options({{"x", Type::tensor(DType::kF32, {1, 3})}}))).find("not whole samples"), std::string::npos);
  EXPECT_NE(problem(open_dataset(path("x.raw"), array_options({{"x", Type::tensor(DType::kF32, {1, Dim("L")})}}))).find("known size"), std::string::npos);
}

TEST_F(Datasets, SyntheticIsNormalAndRepeatable) {
  const std::vector<InputSpec> inputs = {{"x", Type::tensor(DType::kF32, {Dim("N"), 10000})}, {"mask", Type::tensor(DType::kS64, {1, 50})}};
  const auto a = synthetic_dataset(inputs, 3, 7), b = synthetic_dataset(inputs, 3, 7), c = synthetic_dataset(inputs, 3, 8);
  ASSERT_TRUE(a.ok() && b.ok() && c.ok());
  const auto x = floats(read(**a, 1));
  EXPECT_EQ(x, floats(read(**b, 1)));
  EXPECT_NE(x, floats(read(**c, 1)));
  EXPECT_NE(x, floats(read(**a, 2)));
  double sum = 0, squares = 0;
  for (float v : x) { sum += v; squares += v * v; }
  EXPECT_NEAR(sum / 10000, 0, 0.05);
  EXPECT_NEAR(squares / 10000, 1, 0.05);
  for (float v : floats(read(**a, 0), 1)) EXPECT_TRUE(v == 0 || v == 1);
}

TEST_F(Datasets, TakenSamplesAreSpreadEvenly) {
  write("x.npy", *npy_bytes(Tensor::from<float>({10, 1}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9})));
  const auto inputs = array_options({{"x", Type::tensor(DType::kF32, {Dim("N"), 1})}});
  const std::shared_ptr<const Dataset> all = open(path("x.npy"), inputs);
  const auto four = take_samples(all, 4);
  ASSERT_EQ(four->size(), 4u);
  EXPECT_EQ(floats(read(*four, 1)), std::vector<float>{2});
  EXPECT_EQ(floats(read(*four, 3)), std::vector<float>{7});
  EXPECT_EQ(take_samples(all, 0)->size(), 10u);
  EXPECT_EQ(take_samples(all, 99)->size(), 10u);
}

// The CRC-32 of the CRC-32s (little endian) of the 500 images as Pillow and NumPy make them, each of
//   (numpy.asarray(image)[y0:y0+227, x0:x0+227, ::-1].astype("f4") - (104, 117, 123)).transpose(2, 0, 1).tobytes()
TEST_F(Datasets, SharedImagesAreWhatPillowAndNumPyMake) {
  const auto shared = tests::shared_data("imagenet");
  if (!shared) GTEST_SKIP() << "skipped: shared data not found";
  const auto data = open(shared->string(), image_options("caffe-bgr-227", {Dim("N"), 3, 227, 227}));
  ASSERT_EQ(data->size(), 500u);
  std::vector<std::uint8_t> crcs;
  for (std::size_t i = 0; i < data->size(); ++i) {
    const std::uint32_t crc = wire::crc32_of(read(*data, i).inputs[0].second.byte_span());
    for (int b = 0; b < 4; ++b) crcs.push_back(static_cast<std::uint8_t>(crc >> (8 * b)));
  }
  EXPECT_EQ(wire::crc32_of(crcs), 3383736313u);
}

}  // namespace
}  // namespace narrow::datasets
