// Language models: a Hugging Face folder or another checkpoint, quantized, measured by perplexity, and run.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "narrow/progress.h"
#include "narrow/result.h"

namespace narrow {

struct LanguageInfo {
  std::string architecture;                 // config.json's model_type
  std::int64_t layers = 0, hidden = 0, heads = 0, key_heads = 0, intermediate = 0, vocabulary = 0, positions = 0;
  std::uint64_t parameters = 0;
  std::uint64_t size_bytes = 0;             // of the weight files
  struct Kind { std::string name; std::uint64_t tensors = 0, bytes = 0; };
  std::vector<Kind> kinds;                  // "f16", "4-bit, groups of 128", …
};

class LanguageModel {
 public:
  // Whether `path` looks like a language model: a folder with config.json, .safetensors, a llama2.c .bin.
  static bool recognises(const std::string& path);
  // Whether it is one of an encoder, which narrow::Model reads too: it maps texts to vectors, and does not go on with them.
  static bool is_encoder(const std::string& path);
  // Errors: not_found, io, corrupt, unsupported (an architecture); all name the file.
  static Result<LanguageModel> load(const std::string& path);

  LanguageInfo info() const;

  struct Impl;
  explicit LanguageModel(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  const Impl& impl() const { return *impl_; }

 private:
  std::shared_ptr<const Impl> impl_;
};

struct LanguageEstimate {
  std::uint64_t memory_bytes = 0;
  std::uint64_t spilled_bytes = 0;          // calibration tokens kept in temporary files beside the output
  double operations = 0;                    // multiplications and additions
};

// What is left out comes from the recipe file, then from the defaults.
struct LanguageQuantizeOptions {
  std::string recipe_file;                  // TOML
  std::optional<std::string> method;        // see `narrow list methods`
  std::optional<std::uint64_t> bits, group_size;
  std::optional<double> bits_per_weight;    // chosen layer by layer, scales and zero points included
  std::optional<bool> symmetric;
  std::optional<std::string> activations;   // what Linears read, in 8 bits: "none", "dynamic" (by token), "static" (one scale)
  std::vector<std::string> exclude;         // patterns of names of Linears that stay as they are
  std::string data;                         // calibration: text, .jsonl, .npy or .bin of tokens
  std::string tokenizer;                    // "" takes the one beside the model
  std::optional<std::uint64_t> samples;     // sequences (default 128)
  std::optional<std::uint64_t> context;     // tokens of one (default 2048, or the model's maximum)
  std::optional<std::uint64_t> seed;
  std::string format;                       // "gptq", "awq", …; "" by the method
  std::uint64_t max_memory = 0;             // bytes that may be resident; calibration tokens are spilled beyond. 0: no limit
  bool resume = false;                      // go on where an interrupted run stopped
  int threads = 0;                          // 0: all processors
  std::function<void(const LanguageEstimate&)> on_estimate;  // called once, before the work
  Progress progress;
};

struct LinearReport {
  std::string name, method;                 // method "": stays as it is
  std::uint64_t bits = 0;
  std::int64_t group_size = 0;
  double error = 0, rounding_error = 0;     // relative squared error at its outputs, and that of plain rounding
  bool fell_back = false;
  std::string note;
};

struct LanguageQuantization {
  std::string method, format, recipe;       // recipe: TOML; replays this run
  std::vector<LinearReport> linears;
  std::uint64_t bytes_before = 0, bytes_after = 0;
  std::uint64_t resumed_blocks = 0, calibration_tokens = 0;
  // Of a budget of bits a weight: what was asked for and is used, and the expected rise of the mean negative log likelihood.
  struct Budget { double wanted = 0, used = 0, expected_loss = 0; };
  std::optional<Budget> budget;
};

// Writes to `out`: a folder, or a file for formats that are one. Unfinished work is kept in "<out>.partial", block by block.
// Errors: invalid_argument (options, out exists, data missing), unsupported (the format cannot hold the result), corrupt, io.
Result<LanguageQuantization> quantize_language(const LanguageModel& model, const std::string& out, const LanguageQuantizeOptions& options);

// Writes the weights as they are in another format. Errors: as above.
Status convert_language(const LanguageModel& model, const std::string& out, const std::string& format, int threads = 0, const Progress& progress = {});

struct PerplexityOptions {
  std::string tokenizer;
  std::uint64_t context = 0;                // 0: 2048, or the model's maximum
  std::uint64_t stride = 0;                 // 0: context
  std::uint64_t windows = 0;                // 0: all whole ones
  int threads = 0;
  Progress progress;
};

struct PerplexityFigures {
  double perplexity = 0, mean_nll = 0;
  std::uint64_t predicted = 0, windows = 0, tokens = 0, context = 0, stride = 0;
};

Result<PerplexityFigures> measure_perplexity(const LanguageModel& model, const std::string& data, const PerplexityOptions& options);

struct GenerateOptions {
  std::string tokenizer;
  std::uint64_t tokens = 100;               // at most
  double temperature = 0, top_p = 1, min_p = 0, repetition_penalty = 1;
  std::uint64_t top_k = 0, seed = 0;
  int threads = 0;
};

struct Generated {
  std::string text;
  std::uint64_t prompt_tokens = 0, tokens = 0;
  double prompt_seconds = 0, seconds = 0;
};

// `on_text` gets the text as it grows. Ends early at the model's end-of-text token.
Result<Generated> generate(const LanguageModel& model, const std::string& prompt, const GenerateOptions& options, const std::function<void(const std::string&)>& on_text = {});

}  // namespace narrow
