// Tables of characters for tests, as SentencePiece precompiles them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace narrow::tokenizers {

// A double array in which every node has 256 units of its own: large, and simple to be right about.
inline std::string charsmap_bytes(const std::vector<std::pair<std::string, std::string>>& entries) {
  struct Node {
    std::map<unsigned char, std::size_t> children;
    int replacement = -1;
  };
  std::vector<Node> nodes(1);
  std::string replacements;
  for (const auto& [from, to] : entries) {
    std::size_t node = 0;
    for (const char c : from) {
      const auto byte = static_cast<unsigned char>(c);
      if (!nodes[node].children.contains(byte)) {
        nodes[node].children[byte] = nodes.size();
        nodes.emplace_back();
      }
      node = nodes[node].children[byte];
    }
    nodes[node].replacement = static_cast<int>(replacements.size());
    replacements += to + '\0';
  }
  // Node n has the units [256 (n + 1), 256 (n + 2)); the root's own unit is 0. The child by byte b is the unit base ^ b, the
  // leaf the unit base ^ 0.
  std::vector<std::uint32_t> units(256 * (nodes.size() + 1), 0x1FF);  // labels that no byte has at these places
  for (std::uint32_t& unit : units) unit = 0x80000000;
  const auto base = [](std::size_t node) { return static_cast<std::uint32_t>(256 * (node + 1)); };
  const auto unit_of = [&](std::size_t at, std::size_t node, std::uint32_t label) {
    const std::uint32_t offset = base(node) ^ static_cast<std::uint32_t>(at);
    const bool far = offset >= (1u << 21);
    return (far ? (offset >> 8) << 10 | 1u << 9 : offset << 10) | (nodes[node].replacement >= 0 ? 1u << 8 : 0) | label;
  };
  units[0] = unit_of(0, 0, 0);
  for (std::size_t n = 0; n < nodes.size(); ++n) {
    if (nodes[n].replacement >= 0) units[base(n)] = 0x80000000 | static_cast<std::uint32_t>(nodes[n].replacement);
    for (const auto& [byte, child] : nodes[n].children) units[base(n) ^ byte] = unit_of(base(n) ^ byte, child, byte);
  }
  std::string out;
  const auto append = [&](std::uint32_t value) {
    for (int i = 0; i < 4; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
  };
  append(static_cast<std::uint32_t>(4 * units.size()));
  for (const std::uint32_t unit : units) append(unit);
  return out + replacements;
}

inline std::string base64(const std::string& bytes) {
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t bits = 0;
    for (std::size_t j = 0; j < 3; ++j) bits = bits << 8 | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0);
    for (std::size_t j = 0; j < 4; ++j) out.push_back(j <= bytes.size() - i ? kDigits[bits >> (18 - 6 * j) & 63] : '=');
  }
  return out;
}

}  // namespace narrow::tokenizers
